"""The sizes of a Hugging Face model, as objectives may know them."""

from torch import nn

from stillroom.core.byte_table import ByteTable
from stillroom.core.shape import ModelShape
from stillroom.taps.anatomy import causal_lm, text_config


def model_shape(
    model: nn.Module,
    vocab_size: int | None,
    vocabulary: str,
    tokens: ByteTable | None = None,
    end_token: int | None = None,
) -> ModelShape:
    """Sizes of `model`; `vocab_size` None means all rows of its embedding.

    `head_dim` is the width of queries and keys as they are recorded. Latent attention (DeepSeek) expands its
    keys before the products, to one for each query head. A model without attention (Mamba) has no heads.
    """
    lm = causal_lm(model)
    config = text_config(lm)
    heads = getattr(config, "num_attention_heads", 0)
    is_latent = getattr(config, "kv_lora_rank", None) is not None
    if is_latent:
        head_dim = config.qk_nope_head_dim + config.qk_rope_head_dim
    else:
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // max(heads, 1)
    key_heads = None if is_latent else getattr(config, "num_key_value_heads", None)
    return ModelShape(
        vocab_size=lm.get_input_embeddings().weight.shape[0] if vocab_size is None else vocab_size,
        width=config.hidden_size,
        num_layers=config.num_hidden_layers,
        num_heads=heads,
        num_key_value_heads=key_heads or heads,
        head_dim=head_dim,
        model_type=lm.config.model_type,
        vocabulary=vocabulary,
        tokens=tokens,
        end_token=end_token,
    )
