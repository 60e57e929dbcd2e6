"""Errors of pydantic as sentences: `recipe.yaml:12: training.learning_rat: unknown key; did you mean
learning_rate?`"""

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stillroom.recipe.problems import UNKNOWN_KEY, WRONG, Path, did_you_mean, dotted, nearest, shown
from stillroom.recipe.schema import Recipe
from stillroom.recipe.training_arguments import training_fields

MISSING = {
    "student": "add student: {model: ...} (--student)",
    "data": "add data: {train: ...} (--data)",
    "data.train": "give a file, a data set on the hub, or python-docs (--data)",
    "objectives": "add objectives: [{use: logits.forward_kl}] (--objective)",
    "output": "name the folder for the results (--output)",
}
"""What to do where a required key is absent."""

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "string_type": "text",
    "list_type": "a list",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
    "finite_number": "a finite number",
    "string_too_short": "text that is not empty",
    "too_short": "at least one item",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def describe(error: ValidationError, origins: Mapping[Path, str]) -> list[str]:
    """One sentence an error, in the order of the schema, each with the place where its key was given."""
    return [place(details["loc"], origins) + sentence(details) for details in error.errors(include_url=False)]


def place(path: Path, origins: Mapping[Path, str]) -> str:
    """`recipe.yaml:12: data.train: `, with the nearest enclosing key that was given."""
    for length in range(len(path), -1, -1):
        if path[:length] in origins:
            return f"{origins[path[:length]]}: {dotted(path)}: " if path else f"{origins[()]}: "
    return f"{dotted(path)}: " if path else ""


def sentence(details: ErrorDetails) -> str:
    """What was expected, what came, what to do; without the place."""
    kind, path, context = details["type"], details["loc"], details.get("ctx", {})
    if kind in (WRONG, UNKNOWN_KEY):
        return context["sentence"]
    if kind == "extra_forbidden":
        return f"unknown key{_hint(path)}"
    if kind == "missing":
        return f"missing; {MISSING.get(dotted(path), 'it has no default, so give it')}"
    got = shown(details["input"])
    if kind == "literal_error":
        words = context["expected"].replace("'", "")
        hint = nearest(str(details["input"]), words.replace(" or ", ", ").split(", "))
        return f"expected {words}, got {got}{hint}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"expected {words} {context[key]:g}, got {got}"
    expected = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0])
    return f"expected {expected}, got {got}" if expected else f"{details['msg']}, got {got}"


def _hint(path: Path) -> str:
    """A hint: a close key of the same section, else the section in which exactly this key lives."""
    key = str(path[-1])
    siblings = _keys(path[:-1])
    homes = [dotted((*section, key)) for section, keys in sections() if key in keys and section != path[:-1]]
    if homes and not nearest(key, siblings):
        return f"; did you mean {' or '.join(homes)}?"
    return did_you_mean(key, siblings)


def _keys(section: Path) -> list[str]:
    return next((keys for known, keys in sections() if known == section), [])


def sections(model: type[BaseModel] = Recipe, path: Path = ()) -> Iterator[tuple[Path, list[str]]]:
    """Every section of the recipe with its keys, `training` with those of the installed transformers."""
    yield path, list(model.model_fields)
    for name, field in model.model_fields.items():
        if name == "training":
            yield (*path, name), list(training_fields())
        for inner in _models(field.annotation):
            yield from sections(inner, (*path, name))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Section classes in an annotation such as `Teacher | None`; lists of sections are not looked into."""
    parts = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
