"""The output head and the input embedding of a model, trimmed to the shared vocabulary.

logits = softcap(scale * hidden @ W^T + b). The scale is Cohere's `logit_scale` or the inverse of Granite's
`logits_scaling`, the soft-cap is Gemma's `final_logit_softcapping`. A family with another transform is not
guessed here: `stillroom.taps.prepare` compares the head with the model's own logits and refuses it by name.
"""

from torch import Tensor, nn
from transformers import PreTrainedModel

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadTransform, HeadWeights
from stillroom.taps.anatomy import text_config


def head_weights(lm: PreTrainedModel, vocab_size: int | None = None) -> HeadWeights:
    """The first `vocab_size` rows of the head (all, where it is None), as views that carry gradient."""
    head = lm.get_output_embeddings()
    if not isinstance(head, nn.Linear) or not head.weight.is_floating_point():
        raise BadInput(
            f"Expected the head of {lm.config.model_type!r} to be a plain linear layer, got "
            f"{type(head).__name__}: take the head out of the adapter's target_modules and modules_to_save, "
            "and do not quantize it."
        )
    bias = None if head.bias is None else _rows(head.bias, vocab_size, "head")
    config = text_config(lm)
    transform = HeadTransform(bias, _scale(config), getattr(config, "final_logit_softcapping", None))
    return HeadWeights(_rows(head.weight, vocab_size, "head"), transform)


def embedding_weight(lm: PreTrainedModel, vocab_size: int | None = None) -> Tensor:
    """The input embedding `[V,D]` as stored: without the factor that Gemma applies after the look-up."""
    embedding = lm.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise BadInput(
            f"Expected the input embedding of {lm.config.model_type!r} to be a plain embedding, got "
            f"{type(embedding).__name__}: take it out of the adapter's target_modules and modules_to_save."
        )
    return _rows(embedding.weight, vocab_size, "embedding")


def _scale(config: object) -> float:
    multiplier = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)
    return (1.0 if multiplier is None else float(multiplier)) / (1.0 if divisor is None else float(divisor))


def _rows(matrix: Tensor, vocab_size: int | None, name: str) -> Tensor:
    if vocab_size is None or vocab_size == matrix.shape[0]:
        return matrix
    if vocab_size > matrix.shape[0]:
        raise BadInput(
            f"Expected the {name} to have at least {vocab_size} rows, the shared vocabulary, but it has "
            f"{matrix.shape[0]}: compare the vocabularies of student and teacher."
        )
    return matrix[:vocab_size]
