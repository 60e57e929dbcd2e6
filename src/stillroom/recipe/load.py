"""The door: a recipe file, `--set` and flags to a validated `Recipe`, or all that is wrong in one `BadInput`.

Later wins: file, then flags, then `--set`. Each may be absent; flags alone make a recipe.
"""

import copy
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from stillroom.core.errors import BadInput
from stillroom.recipe import files, strict_yaml
from stillroom.recipe.overrides import apply_flags, apply_sets
from stillroom.recipe.problems import UNKNOWN_KEY, Path, shown
from stillroom.recipe.schema import Recipe
from stillroom.recipe.sentences import describe, place


def load_recipe(
    path: str | PathLike[str] | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """The resolved recipe. `sets` are texts like "training.max_steps=100"; `flags` has the names in
    `stillroom.recipe.overrides.FLAGS`, None meaning not given; `values` are the content of a recipe that
    stands in no file.

    Raises `BadInput`, one sentence a line, for everything that can be known without loading a model or the
    data.
    """
    document = strict_yaml.Document(copy.deepcopy(dict(values or {})))
    if path is not None:
        document = _from_file(FilePath(path).expanduser())
    apply_flags(document, flags or {})
    apply_sets(document, sets)
    recipe, sentences = _validated(document)
    if recipe is not None:
        sentences += [place(p.path, document.origins) + p.sentence for p in files.find_problems(recipe)]
    sentences = document.duplicates + sentences
    if recipe is None or sentences:
        raise BadInput("\n".join(sentences))
    return recipe


def _from_file(path: FilePath) -> strict_yaml.Document:
    document = strict_yaml.read(path)
    if document.values is None:
        raise BadInput(f"{path} is empty; a recipe needs at least student, data, objectives and output.")
    if not isinstance(document.values, dict):
        raise BadInput(
            f"{path}: expected keys such as student: and data: at the top, got {shown(document.values)}."
        )
    document.origins[()] = str(path)
    return document


def _validated(document: strict_yaml.Document) -> tuple[Recipe | None, list[str]]:
    """The recipe and what is wrong. Where only unknown keys are, the rest is still looked at without them."""
    try:
        return Recipe.model_validate(document.values), []
    except ValidationError as error:
        sentences = describe(error, document.origins)
        unknown = [
            d["loc"] for d in error.errors(include_url=False) if d["type"] in ("extra_forbidden", UNKNOWN_KEY)
        ]
        if len(unknown) < error.error_count():
            return None, sentences
    try:
        return Recipe.model_validate(_without(document.values, unknown)), sentences
    except ValidationError as error:
        return None, sentences + describe(error, document.origins)


def _without(values: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    kept = copy.deepcopy(values)
    for path in paths:
        inner: Any = kept
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
    return kept
