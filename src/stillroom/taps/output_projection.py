"""What each attention head writes into the model: the output projection, cut into one slice a head.

Attention adds sum_h A_h V_h W_h + b. Linear layers hold the slices W_h as columns, GPT-2's Conv1D as rows; the width of
a slice is that of a head's values, which may differ from that of its queries. That nothing stands between the heads
and the projection (a gate, a norm) is checked by `stillroom.taps.prepare` on what the model computes.
"""

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stillroom.core.errors import BadInput
from stillroom.taps.anatomy import attention_output, text_config


def output_projection(lm: PreTrainedModel, layer: int) -> Tensor:
    """The slices `[H,e,D]` of block `layer`, as a view that carries gradient. Raises `BadInput` where there is none."""
    module = attention_output(lm, layer)
    if not isinstance(module, nn.Linear | Conv1D) or not module.weight.is_floating_point():
        raise BadInput(
            f"Expected the output projection of block {layer} of {lm.config.model_type!r} to be a plain linear layer "
            f"with a dense weight, got {type(module).__module__}.{type(module).__name__}: do not quantize that model, "
            "and merge its adapters or keep them out of the output projection."
        )
    weight = module.weight if isinstance(module, Conv1D) else module.weight.T
    heads = text_config(lm).num_attention_heads
    if len(weight) % heads:
        raise BadInput(
            f"Expected the output projection of block {layer} of {lm.config.model_type!r} to read {heads} heads of one "
            f"width, it reads {len(weight)} numbers: choose objectives that read other signals."
        )
    return weight.unflatten(0, (heads, -1))
