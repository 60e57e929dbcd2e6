"""What a model cannot be asked, seen by its structure alone: on the meta device, before any weight is loaded.

`stillroom.taps.prepare` asks the model itself and has the last word; what is refused here would be refused there, after
the minutes that large weights take.
"""

import sys
from collections.abc import Collection

from torch import nn
from transformers import PreTrainedModel

from stillroom.core.errors import BadInput
from stillroom.core.signals import Hidden, NormedHidden, OutputProjection, Request
from stillroom.taps.anatomy import blocks, causal_lm, decoder, final_norm, text_config
from stillroom.taps.attention import FROM_ATTENTION
from stillroom.taps.output_projection import output_projection

LAYER_TYPES = ("full_attention", "sliding_attention")
REGISTRY = "ALL_ATTENTION_FUNCTIONS"
"""What every modeling file of transformers imports that computes attention through the registry."""


def check_structure(model: nn.Module, requests: Collection[Request]) -> None:
    """Raise `BadInput` where `model`, whose weights may be absent, has not what `requests` ask for."""
    lm = causal_lm(model)
    check_layers(lm, requests)
    if attended := {request.layer for request in requests if isinstance(request, FROM_ATTENTION)}:
        _check_registry(lm)
        check_layer_types(lm, attended)
        _check_sinks(lm, attended)
    for request in requests:
        if isinstance(request, OutputProjection):
            output_projection(lm, request.layer)
        elif isinstance(request, Hidden):
            blocks(lm)
        elif isinstance(request, NormedHidden):
            blocks(lm)
            final_norm(lm)


def has_position_table(model: nn.Module) -> bool:
    """Whether a longer text than the model's positions would ask for rows that are not there (GPT-2, OPT)."""
    lm = causal_lm(model)
    positions = getattr(text_config(lm), "max_position_embeddings", None)
    words = lm.get_input_embeddings()
    tables = [m for m in decoder(lm).modules() if isinstance(m, nn.Embedding) and m is not words]
    # some families keep a row or two for padding
    return positions is not None and any(0 <= each.num_embeddings - positions < 8 for each in tables)


def check_layers(lm: PreTrainedModel, requests: Collection[Request]) -> None:
    """Raise `BadInput` where a request names a layer that is not there."""
    depth = text_config(lm).num_hidden_layers
    for request in requests:
        if isinstance(request, (Hidden, NormedHidden, OutputProjection, *FROM_ATTENTION)):
            lowest = 0 if isinstance(request, Hidden | NormedHidden) else 1
            if not lowest <= request.layer <= depth:
                raise BadInput(
                    f"Expected a layer from {lowest} to {depth} in {request!r}, because the model "
                    f"({lm.config.model_type}) has {depth} layers, got {request.layer}: choose another layer."
                )


def check_layer_types(lm: PreTrainedModel, layers: Collection[int]) -> None:
    """Raise `BadInput` where one of `layers` has no queries and keys as other families have them."""
    types = getattr(text_config(lm), "layer_types", None) or ()
    for layer in sorted(layers):
        if types and types[layer - 1] not in LAYER_TYPES:
            raise BadInput(
                f"Expected layer {layer} of {lm.config.model_type!r} to have full or sliding-window "
                f"attention, it has {types[layer - 1]}, whose queries and keys mean something else: choose "
                "another layer."
            )


def _check_registry(lm: PreTrainedModel) -> None:
    """Only of the library's own families: other code may reach the registry in other ways."""
    files = {type(module).__module__ for module in lm.modules() if type(module).__module__ in sys.modules}
    is_ours = type(lm).__module__.startswith("transformers.models.")
    if is_ours and not any(REGISTRY in vars(sys.modules[name]) for name in files):
        raise BadInput(
            f"Models of type {lm.config.model_type!r} do not compute attention through transformers' attention "
            "registry, so that their queries, keys and values cannot be recorded; choose objectives on logits or "
            "hidden states."
        )


def _check_sinks(lm: PreTrainedModel, layers: Collection[int]) -> None:
    for layer in sorted(layers):
        names = [name.rpartition(".")[2] for name, _ in blocks(lm)[layer - 1].named_parameters()]
        if "sinks" in names:
            raise BadInput(
                f"Layer {layer} of {lm.config.model_type!r} uses attention sinks, which cannot be recorded: choose "
                "objectives on logits or hidden states."
            )
