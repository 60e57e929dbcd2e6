"""`--set a.b=c` and the flags: values that replace those of the file, before anything is checked."""

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.recipe import strict_yaml
from stillroom.recipe.problems import Path, dotted, shown

FLAGS: dict[str, Path] = {
    "student": ("student", "model"),
    "teacher": ("teacher", "model"),
    "data": ("data", "train"),
    "eval": ("data", "eval"),
    "objective": ("objectives",),
    "output": ("output",),
    "max_steps": ("training", "max_steps"),
    "seed": ("seed",),
}
"""Flags of the command line and the keys that they set."""


def apply_flags(document: strict_yaml.Document, flags: Mapping[str, Any]) -> None:
    """Put each flag that was given (not None, not an empty list) at its key. `objective` is a list of
    names."""
    for name, value in flags.items():
        if name not in FLAGS:
            raise KeyError(f"no flag {name!r}; flags are {', '.join(FLAGS)}")
        if value is None or value == [] or value == ():
            continue
        if name == "objective":
            value = [value] if isinstance(value, str) else list(value)
        _put(document, FLAGS[name], value, f"--{name.replace('_', '-')}")


def apply_sets(document: strict_yaml.Document, sets: Sequence[str]) -> None:
    """Put each `a.b=c` at its path, in order; `c` is YAML. An unknown key is left for the schema to
    refuse."""
    for text in sets:
        left, equals, right = text.partition("=")
        keys = [key.strip() for key in left.split(".")]
        if not equals or not all(keys):
            raise BadInput(f"--set {text}: expected path=value, such as training.max_steps=100 or seed=3.")
        source = f"--set {text}" if len(text) <= 80 else f"--set {left}=..."
        value = strict_yaml.parse(right, source, has_lines=False)
        if value.duplicates:
            raise BadInput("\n".join(value.duplicates))
        _put(document, tuple(int(key) if key.isdecimal() else key for key in keys), value.values, source)


def _put(document: strict_yaml.Document, path: Path, value: Any, source: str) -> None:
    """Set the value at `path`, making mappings on the way, and note where it came from."""
    inner: Any = document.values
    here: Path = ()
    for depth, key in enumerate(path):
        is_last = depth == len(path) - 1
        if isinstance(inner, list):
            _check_position(inner, key, here, source)
            if not is_last and isinstance(inner[key], str) and here == ("objectives",):
                inner[key] = {"use": inner[key]}
        elif isinstance(inner, dict):
            key = str(key)
            if not is_last and inner.get(key) is None:
                inner[key] = {}
                document.origins[(*here, key)] = source
        else:
            raise BadInput(f"{source}: {dotted(here)} is {shown(inner)}, which has no key {key} inside.")
        here = (*here, key)
        if is_last:
            inner[key] = value
        else:
            inner = inner[key]
    for known in [origin for origin in document.origins if origin[: len(here)] == here]:
        del document.origins[known]
    document.origins[here] = source


def _check_position(items: list[Any], key: str | int, path: Path, source: str) -> None:
    if not isinstance(key, int):
        raise BadInput(
            f"{source}: {dotted(path)} is a list; name a position, such as {dotted((*path, 0))}.{key}."
        )
    if key >= len(items):
        count = f"positions 0 to {len(items) - 1}" if items else "no items"
        raise BadInput(f"{source}: {dotted(path)} has {count}, so there is no {dotted((*path, key))}.")
