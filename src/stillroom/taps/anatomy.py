"""Where the parts of a Hugging Face causal language model lie.

A student may come wrapped by PEFT. The adapters are injected into the layers, so the model inside still
applies them: the taps work on that inner model and never on the wrapper. `peft` is optional and is not
imported here.
"""

import sys
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from stillroom.core.errors import BadInput


def causal_lm(model: nn.Module) -> PreTrainedModel:
    """The causal language model inside `model`, with its adapters active."""
    peft = sys.modules.get("peft")  # a PEFT model cannot exist before peft is imported
    if peft is not None and isinstance(model, peft.PeftModel):
        if model.active_peft_config.is_prompt_learning:
            raise BadInput(
                f"Expected adapters inside the layers (LoRA and its kin), got {model.peft_type}, which adds "
                "virtual tokens that no mask of the batch knows: use LoRA."
            )
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise BadInput(
            "Expected a transformers causal language model or a PEFT wrapper of one, got "
            f"{type(model).__name__}."
        )
    return model


def text_config(lm: PreTrainedModel) -> Any:
    """The part of the configuration that describes the text decoder."""
    return lm.config.get_text_config(decoder=True)


def decoder(lm: PreTrainedModel) -> nn.Module:
    """The model without its head: its `last_hidden_state` is what the head is applied to."""
    return lm.get_decoder()


def blocks(lm: PreTrainedModel) -> nn.ModuleList:
    """The decoder blocks in order; block `l` of the requests is `blocks(lm)[l - 1]`."""
    count = text_config(lm).num_hidden_layers
    lists = [child for child in decoder(lm).children() if isinstance(child, nn.ModuleList)]
    for modules in lists:
        if len(modules) == count:
            return modules
    raise BadInput(
        f"Expected the decoder of {lm.config.model_type!r} to hold one list of {count} blocks, found lists "
        f"of {[len(modules) for modules in lists]}: this family is not supported for hidden states."
    )


NORMS = ("norm", "ln_f", "norm_f", "final_layer_norm", "final_layernorm")
"""What families call the norm behind the last block."""


def final_norm(lm: PreTrainedModel) -> nn.Module:
    """What lies between the last block and the head: the final norm, and in some OPT models a projection behind it."""
    parts = dict(decoder(lm).named_children())
    norms = [parts[name] for name in NORMS if name in parts]
    behind = [parts[name] for name in ("project_out",) if name in parts]
    if len(norms) > 1 or not norms + behind:
        raise BadInput(
            f"Expected the decoder of {lm.config.model_type!r} to have one norm behind its last block "
            f"({', '.join(NORMS)}), found {len(norms)}: this family is not supported for layers read through the head, "
            "choose objectives that read others."
        )
    return nn.Sequential(*norms, *behind)


ATTENTION = ("self_attn", "attn", "attention", "self_attention")
PROJECTION = ("o_proj", "out_proj", "c_proj", "dense", "wo")
"""What families call a block's attention and, directly in it, the projection that heads write through."""


def attention_output(lm: PreTrainedModel, layer: int) -> nn.Module:
    """The projection after the attention of block `layer`, from 1 on: its input is what the heads say, side by side."""
    found = []
    for path, module in blocks(lm)[layer - 1].named_modules():
        *parents, name = path.split(".")
        if name in PROJECTION and parents and parents[-1] in ATTENTION:
            found.append(module)
    if len(found) != 1:
        raise BadInput(
            f"Expected block {layer} of {lm.config.model_type!r} to have one attention with one output projection "
            f"({', '.join(PROJECTION)}), found {len(found)}: this family is not supported for output projections, "
            "choose objectives that read other signals."
        )
    return found[0]


def first(output: Any) -> Tensor:
    """Hidden states of a block's output, which some families wrap in a tuple."""
    return output[0] if isinstance(output, tuple) else output
