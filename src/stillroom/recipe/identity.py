"""What a teacher's answers depend on, known without loading its weights."""

import hashlib
import json
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.recipe.models import load_config
from stillroom.recipe.schema import Recipe, Teacher

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from stillroom.core.shape import ModelShape

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_NO_MATTER = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache")
"""Keys of a configuration that change no answer, or are compared apart (dtype)."""


def identity(
    recipe: Recipe, teacher: Teacher, config: "PreTrainedConfig", shape: "ModelShape"
) -> dict[str, Any]:
    """Field by field, as a cache's manifest has it. `teacher.weights` is None where they are not on this machine."""
    data = recipe.data
    return {
        "tokenizer.vocabulary": shape.vocabulary,
        "data.template": data.template,
        "data.max_length": data.max_length,
        "data.max_prompt_length": data.max_prompt_length or data.max_length // 2,
        "data.train_on": data.train_on,
        "teacher.weights": weights_hash(teacher.model),
        "teacher.config": _config_hash(config),
        **{
            f"teacher.{each.name}": getattr(shape, each.name)
            for each in fields_of(shape)
            if each.compare and each.name != "vocabulary"
        },
        **_others(teacher),
        "precision.weights": _dtype(teacher, config),
        "precision.autocast": autocast_type(recipe),
    }


def _others(teacher: Teacher) -> dict[str, Any]:
    """Nothing where there is one teacher, so that caches of one stay what they were."""
    if not teacher.others:
        return {}
    fields: dict[str, Any] = {"teacher.combine": teacher.combine}
    if teacher.shares is not None:
        fields["teacher.shares"] = teacher.shares
    for name, source in weight_sources(teacher).items():
        if source != teacher.model:
            fields[name] = weights_hash(source)
            fields[name.replace("weights", "config")] = _config_hash(load_config(source, "teacher.others"))
    return fields


def weight_sources(teacher: Teacher) -> dict[str, str]:
    """Folder or Hub name behind each field of the identity that is a hash of weights."""
    others = {f"teacher.others.{number}.weights": each for number, each in enumerate(teacher.others)}
    return {"teacher.weights": teacher.model, **others}


def autocast_type(recipe: Recipe) -> str:
    """What a live teacher would be computed in beside the student: "bfloat16", "float16", or "none"."""
    return next(
        (name for key, name in (("bf16", "bfloat16"), ("fp16", "float16")) if recipe.training.get(key)),
        "none",
    )


def weights_hash(source: str) -> str | None:
    """SHA-256 over the names and contents of a model's safetensors files; None where they are not on this machine.

    Nothing is downloaded and no weight is loaded.
    """
    files = weight_files(source)
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}:{content_hash(path)}\n".encode())
    return digest.hexdigest()


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weight_files(source: str) -> list[Path]:
    """The files that `from_pretrained` reads: the one file, or else those of the index."""
    found = {name: _local(source, name) for name in (WEIGHTS, INDEX)}
    if found[WEIGHTS] is not None:
        return [found[WEIGHTS]]
    if found[INDEX] is None:
        return []
    names = sorted(set(json.loads(found[INDEX].read_text(encoding="utf-8"))["weight_map"].values()))
    parts = [_local(source, name) for name in names]
    return [part for part in parts if part is not None] if None not in parts else []


def _local(source: str, name: str) -> Path | None:
    """A file of a model, in its folder or in the cache of the Hub."""
    if Path(source).is_dir():
        path = Path(source) / name
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(source, name)
    return Path(found) if isinstance(found, str) else None


def _config_hash(config: "PreTrainedConfig") -> str:
    content = {
        key: value
        for key, value in config.to_dict().items()
        if key not in _NO_MATTER and not key.startswith("_attn")
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _dtype(teacher: Teacher, config: "PreTrainedConfig") -> str:
    """The number format of the weights in memory, as far as files tell."""
    if teacher.dtype != "auto":
        return teacher.dtype
    return "as in the files" if config.dtype is None else str(config.dtype).removeprefix("torch.")
