"""Optimizers beside those that transformers builds right by itself, and what each of them needs before a run.

`came` and `microadam` are names of ours. GaLore is transformers' name, built here: transformers would take the
projections of objectives for layers of the student, and leave out weight decay and Adam's betas. Its projectors are
objects, which a checkpoint does not hold; their matrices are.

Paper:    SHARP, appendix A; Luo et al. (2023), CAME; Zhao et al. (2024), GaLore; Modoranu et al. (2024), MicroAdam
Differs:  `came` takes beta3, clip_threshold from `optim_args`; `microadam` m, k_init, quant_block_size
"""

import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import TrainingArguments

    from stillroom.training.pair import Pair

OWN = ("came", "microadam")
"""Names of `training.optim` that transformers does not know."""

_PACKAGES = (
    (r"came", {"came_pytorch": "came-pytorch"}),
    (r"microadam", {"ista_daslab_optimizers": "ista-daslab-optimizers"}),
    (r"galore_.*", {"galore_torch": "galore-torch", "bitsandbytes": "bitsandbytes"}),
    (r"apollo_.*", {"apollo_torch": "apollo-torch"}),
    (r"grokadamw", {"grokadamw": "grokadamw"}),
    (r"stable_adamw", {"optimi": "torch-optimi"}),
    (r"adamw_torch_[48]bit", {"torchao": "torchao"}),
    (r"adamw_torch_xla", {"torch_xla": "torch_xla"}),
    (r"adamw_torch_npu_fused", {"torch_npu": "torch_npu"}),
    (r"adamw_anyprecision", {"torchdistx": "torchdistx"}),
    (r"paged_.*|ademamix.*|lion_.*|rmsprop_bnb.*|adamw_(bnb_)?8bit", {"bitsandbytes": "bitsandbytes"}),
)
"""Names (as patterns, the first that fits) with the modules they import and what pip calls those."""

_OPTIONS: dict[str, dict[str, type]] = {
    "came": {"beta3": float, "clip_threshold": float},
    "microadam": {"m": int, "k_init": float, "quant_block_size": int},
    "galore": {"rank": int, "update_proj_gap": int, "scale": float, "proj_type": str},
}
"""What `optim_args` may hold where the optimizer is built here: numbers above 0, and one of `_PROJECTIONS`."""
_AT_MOST_ONE = ("beta3", "k_init")
_PROJECTIONS = ("std", "reverse_std", "right", "left", "full")

_GALORE = {"rank": 128, "update_proj_gap": 200, "scale": 0.25, "proj_type": "std"}


def check(name: str, arguments: "TrainingArguments") -> None:
    """Raise `BadInput` for what would otherwise fail after the weights are loaded; imports no optimizer."""
    if reason := unfit(name):
        raise BadInput(f"training.optim: {name} {reason}")
    for module, package in packages(name).items():
        if find_spec(module) is None:
            raise BadInput(f"training.optim: {name} needs {package}; pip install {package}")
    if name in ("microadam", "galore_adamw_8bit") and arguments.device.type != "cuda":
        raise BadInput(
            f"training.optim: {name} exists for CUDA GPUs only, and this run is on the {arguments.device.type}; "
            "use adamw_torch, adamw_8bit, galore_adamw or came"
        )
    if name.startswith(("galore_", "apollo_")) and not arguments.optim_target_modules:
        raise BadInput(
            f"training.optim_target_modules: {name} needs it: all-linear, or parts of names of the student's linear "
            "layers such as [attn, mlp]"
        )
    if not resumable(name) and arguments.save_strategy != "no":
        raise BadInput(
            f"training.save_strategy: {name} does not hand out its whole state, so a checkpoint could not go on; "
            "set it to 'no'"
        )
    _options(name, arguments)


def unfit(name: str) -> str | None:
    """Why an optimizer that transformers knows cannot be used here, and what can; None where it can be."""
    if name in ("lomo", "adalomo") or name.endswith("_layerwise"):
        instead = name.removesuffix("_layerwise") if name.endswith("_layerwise") else "adafactor"
        return (
            "updates weights during the backward pass, before gradients are summed over micro-batches, clipped and "
            f"checked, and cannot be resumed; use {instead}"
        )
    if name.startswith("schedule_free_"):
        return (
            "trains other weights than those to be evaluated and saved, and a run does not change between them; use "
            "adamw_torch"
        )
    return None


def resumable(name: str) -> bool:
    """Whether a checkpoint holds all that the optimizer goes on from."""
    return not name.startswith(("microadam", "apollo_"))


def packages(name: str) -> dict[str, str]:
    """Modules that the optimizer imports beside torch and transformers, with their names for pip."""
    return next((needed for pattern, needed in _PACKAGES if re.fullmatch(pattern, name)), {})


def build(
    name: str, arguments: "TrainingArguments", pair: "Pair", decaying: list[str]
) -> tuple[type, dict[str, Any]] | None:
    """Class and keyword arguments as `Trainer.optimizer_cls_and_kwargs` wants them; None: transformers builds it.

    `decaying` names the parameters of `pair` with weight decay.
    """
    options = _options(name, arguments)
    betas = (arguments.adam_beta1, arguments.adam_beta2)
    common = {"lr": arguments.learning_rate}
    if name == "came":
        from came_pytorch import CAME

        return CAME, {**common, "betas": (*betas, options.pop("beta3", 0.9999)), **options}
    if name == "microadam":
        from ista_daslab_optimizers import MicroAdam

        defaults = {"m": 10, "k_init": 0.01, "quant_block_size": 100_000, "alpha": 0}
        return MicroAdam, {**common, "betas": betas, "eps": arguments.adam_epsilon, **defaults, **options}
    if name.startswith("galore_"):
        import galore_torch

        groups = {"params": _galore_groups(arguments, pair, decaying, _GALORE | options)}
        if name == "galore_adafactor":
            return galore_torch.GaLoreAdafactor, {
                **common, **groups, "scale_parameter": False, "relative_step": False,
            }  # fmt: skip
        adam = {**common, **groups, "betas": betas, "eps": arguments.adam_epsilon}
        if name == "galore_adamw_8bit":
            return galore_torch.GaLoreAdamW8bit, adam
        return galore_torch.GaLoreAdamW, {**adam, "no_deprecation_warning": True}
    return None


def storable(state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer with GaLore's projectors replaced by their matrices."""
    slim = {
        index: {key: value.ortho_matrix if key == "projector" else value for key, value in each.items()}
        for index, each in state["state"].items()
    }
    return {**state, "state": slim}


def revive(optimizer: "Optimizer") -> None:
    """After loading what `storable` gave: matrices become projectors again, by the settings of their group."""
    for group in optimizer.param_groups:
        for each in group["params"]:
            if "projector" in (state := optimizer.state.get(each, {})):
                from galore_torch.galore_projector import GaLoreProjector

                matrix = state["projector"]
                settings = {key: group[key] for key in _GALORE}
                state["projector"] = GaLoreProjector(**settings)
                state["projector"].ortho_matrix = matrix


def _galore_groups(
    arguments: "TrainingArguments", pair: "Pair", decaying: list[str], projected: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The student's chosen linear layers with a projection; all else, parts of objectives too, without."""
    chosen = _chosen_weights(arguments.optim_target_modules, pair)
    decays = set(decaying)
    groups: list[dict[str, Any]] = [
        {"params": [], "weight_decay": arguments.weight_decay, **projected},
        {"params": [], "weight_decay": arguments.weight_decay},
        {"params": [], "weight_decay": 0.0},
    ]
    for name, each in pair.named_parameters():
        if each.requires_grad:
            groups[0 if name in chosen else 1 if name in decays else 2]["params"].append(each)
    if not groups[0]["params"]:
        raise BadInput(
            f"training.optim_target_modules: no trained linear layer of the student fits "
            f"{arguments.optim_target_modules!r}; its names look like {_example(pair)!r}"
        )
    return [group for group in groups if group["params"]]


def _chosen_weights(wanted: Any, pair: "Pair") -> set[str]:
    """Names in `pair` of the weights of the student's linear layers that `optim_target_modules` means.

    A head tied to the embedding has the name of the embedding there, and so is never among them.
    """
    from torch import nn
    from transformers.trainer_utils import check_target_module_exists

    everything = isinstance(wanted, str) and wanted.replace("_", "-") == "all-linear"
    return {
        f"student.{name}.weight"
        for name, module in pair.student.named_modules()
        if isinstance(module, nn.Linear) and (everything or check_target_module_exists(wanted, name))
    }


def _example(pair: "Pair") -> str:
    from torch import nn

    return next((n for n, module in pair.student.named_modules() if isinstance(module, nn.Linear)), "")


def _options(name: str, arguments: "TrainingArguments") -> dict[str, Any]:
    """`optim_args` ("rank=64,scale=0.1") of the optimizers that are built here."""
    known = _OPTIONS.get("galore" if name.startswith("galore_") else name)
    if known is None or not arguments.optim_args:
        return {}
    options = {}
    for pair in str(arguments.optim_args).replace(" ", "").split(","):
        key, equals, value = pair.partition("=")
        if not equals or key not in known:
            raise BadInput(
                f'training.optim_args: {name} takes {", ".join(known)}, written as "key=value,key=value"; '
                f"got {pair!r}"
            )
        try:
            options[key] = known[key](value)
        except ValueError as error:
            kind = "whole number" if known[key] is int else "number"
            raise BadInput(f"training.optim_args: {key} must be a {kind}, got {value!r}") from error
        _check_range(key, options[key])
    return options


def _check_range(key: str, value: Any) -> None:
    if key == "proj_type":
        if value not in _PROJECTIONS:
            raise BadInput(
                f"training.optim_args: proj_type must be one of {', '.join(_PROJECTIONS)}, got {value!r}"
            )
        return
    most = 1 if key in _AT_MOST_ONE else math.inf
    if not (0 < value <= most and math.isfinite(value)):
        raise BadInput(
            f"training.optim_args: {key} must lie in (0, {most}{')' if most > 1 else ']'}, got {value}"
        )
