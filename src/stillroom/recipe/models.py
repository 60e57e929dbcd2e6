"""Tokenizers, configurations and weights of Hugging Face models, by folder or Hub name.

Weights come from safetensors only and no code of a repository is executed. What cannot be loaded is one sentence.
"""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from stillroom.core.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from stillroom.recipe.schema import Student, Teacher

ATTENTION = (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
"""Implementations a configuration may name. Others are code from a Hub repository."""

FIXED = frozenset(
    {"model_type", "architectures", "dtype", "torch_dtype", "return_dict", "transformers_version", "auto_map"}
)
"""Entries of a configuration that are none of a recipe's `student.config`: `student.dtype` has the number format."""

NOT_LOADED = (OSError, ValueError, KeyError, ImportError, ArithmeticError)
"""What loading fails with; the last where sizes are zero."""

T = TypeVar("T")


def load_tokenizer(source: str, role: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    return _loaded(
        role, "tokenizer", source, lambda: AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    )


def load_config(
    source: str, role: str, changes: Mapping[str, Any] = MappingProxyType({})
) -> "PreTrainedConfig":
    """Of a model, with `changes` of entries that its kind of model has and that make a model that can be run."""
    from transformers import AutoConfig

    config = _loaded(
        role, "model", source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False)
    )
    if changes:
        check_causal(config, source, role)
        config = _changed(config, source, role, changes)
    if config._attn_implementation not in ATTENTION:
        raise BadInput(
            f"{role}: {source} asks for the attention implementation {config._attn_implementation!r}, which would run "
            f"code from elsewhere; expected one of {', '.join(map(str, ATTENTION[1:]))}"
        )
    if changes:
        _try_changed(config, role, changes)
    return config


def _changed(
    config: "PreTrainedConfig", source: str, role: str, changes: Mapping[str, Any]
) -> "PreTrainedConfig":
    """Made anew from the file: entries that follow from others, such as the width of heads, follow from the new ones
    unless the file has them."""
    written, _ = type(config).get_config_dict(source)
    if unknown := sorted(changes.keys() - {*written, *config.to_dict(), *config.attribute_map}):
        raise BadInput(
            f"{role}.config: {unknown[0]!r} is no entry of the configuration of a {config.model_type} model; see "
            f"config.json of {source}"
        )
    if fixed := sorted(changes.keys() & FIXED):
        raise BadInput(
            f"{role}.config: {fixed[0]!r} says nothing of the architecture and cannot be changed; take it out"
        )
    names = {name: config.attribute_map.get(name, name) for name in {*written, *changes}}
    values = {names[name]: value for name, value in {**written, **changes}.items()}
    return _loaded(role, "model", source, lambda: type(config).from_dict(values))


def _try_changed(config: "PreTrainedConfig", role: str, changes: Mapping[str, Any]) -> None:
    """Sizes that do not fit each other show in a forward pass, which costs nothing on the meta device."""
    import torch

    trial = copy.deepcopy(config)
    trial._attn_implementation = "eager"  # others do not look at the number of heads there
    try:
        with torch.device("meta"), torch.no_grad():
            empty_model(trial)(input_ids=torch.zeros(1, 2, dtype=torch.long))
    except Exception as error:  # each family complains in its own way
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "meta" in reason:  # it asks for numbers, and gets them once there are weights
            return
        raise BadInput(f"{role}.config: no {role} can be made with {dict(changes)}: {reason}") from error


def empty_model(config: "PreTrainedConfig") -> "PreTrainedModel":
    """The architecture without weights (on the meta device): sizes and module names cost nothing."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def check_causal(config: "PreTrainedConfig", source: str, role: str) -> None:
    from transformers import AutoModelForCausalLM

    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise BadInput(
            f"{role}: {source} is a {config.model_type!r} model, which does not predict next tokens; "
            "choose a causal language model"
        )


def load_student(choice: "Student", seed: int) -> "PreTrainedModel":
    """The student with its own weights, or with new ones that `seed` alone decides; adapters are put on here."""
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    set_seed(seed)
    dtype = "auto" if choice.dtype == "auto" else getattr(torch, choice.dtype)
    if choice.init == "random":
        settings = {} if dtype == "auto" else {"dtype": dtype}
        model = AutoModelForCausalLM.from_config(
            load_config(choice.model, "student", choice.config), **settings
        )
    else:
        model = _weights(choice.model, "student", dtype)
    if choice.lora is not None:
        model = _with_adapters(model, choice.lora)
    return model


def load_teacher(choice: "Teacher") -> "PreTrainedModel":
    import torch

    dtype = "auto" if choice.dtype == "auto" else getattr(torch, choice.dtype)
    return _weights(choice.model, "teacher", dtype)


def _weights(source: str, role: str, dtype: Any) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    def load() -> "tuple[PreTrainedModel, dict[str, Any]]":
        return AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )

    model, found = _loaded(role, "weights", source, load)
    if missing := sorted(found["missing_keys"]):
        raise BadInput(
            f"{role}: the weights of {source} are not whole: {len(missing)} tensors are missing, first "
            f"{missing[0]!r}; they would be random. Get a complete copy"
        )
    return model


def _with_adapters(model: "PreTrainedModel", lora: Any) -> Any:
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise BadInput("student.lora needs the package peft: pip install 'stillroom[peft]'") from error
    settings = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type=TaskType.CAUSAL_LM,
    )
    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise BadInput(f"student.lora: {str(error).splitlines()[0]}") from error


def _loaded(role: str, what: str, source: str, load: Callable[[], T]) -> T:
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    path = Path(source).expanduser()
    try:  # a damaged file is no kind of OSError, an entry of the wrong type no kind of ValueError
        with quiet():
            return load()
    except (*NOT_LOADED, SafetensorError, StrictDataclassError) as error:
        why = error.__cause__ if isinstance(error, StrictDataclassError) and error.__cause__ else error
        reason = (str(why).strip() or type(why).__name__).splitlines()[0].rstrip(" :")
        if path.is_dir():
            held = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
            if what == "tokenizer" and not (path / "tokenizer.json").is_file():
                reason += "; give the folder its tokenizer.json"
            raise BadInput(
                f"{role}: no {what} could be loaded from the folder {source} ({held}): {reason}"
            ) from error
        raise BadInput(
            f"{role}: {source} is neither a folder here nor a model whose {what} could be loaded from the Hub: {reason}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No loading bars of transformers between ours."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def describe(model: Any, source: str, vocabulary: str) -> dict[str, Any]:
    """What run.json says of a model."""
    parameters = sum(each.numel() for each in model.parameters())
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    return {
        "source": source,
        "model_type": model.config.model_type,
        "parameters": parameters,
        "trained_parameters": trained,
        "sha256": weights_digest(model),
        "vocabulary": vocabulary,
    }


def weights_digest(model: Any) -> str:
    """SHA-256 over names, shapes and bytes of all weights in memory, in the order of their names."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
