"""What a recipe says about files, held against the disk, before anything heavy starts.

A source that looks like a path (`./`, `../`, `/`, `~`, a data file's ending, more than one slash) must exist;
any other name may be one of the hub. Relative paths start where the command is started, not where the recipe
lies.
"""

import os
from collections.abc import Iterator
from pathlib import Path as FilePath

from stillroom.recipe.problems import Path, Problem
from stillroom.recipe.schema import PYTHON_DOCS, Recipe

DATA_ENDINGS = (".jsonl", ".json", ".parquet", ".yaml")


def find_problems(recipe: Recipe) -> Iterator[Problem]:
    """Missing models and data, and an output that cannot be written."""
    yield from _model(("student", "model"), recipe.student.model)
    if recipe.teacher is not None:
        yield from _model(("teacher", "model"), recipe.teacher.model)
    for key, source in (("train", recipe.data.train), ("eval", recipe.data.eval)):
        if (
            source is not None
            and source != PYTHON_DOCS
            and _is_path(source)
            and not FilePath(source).exists()
        ):
            yield Problem(
                ("data", key), f"there is no file {FilePath(source).absolute()}; give one that exists"
            )
    yield from _output(_absolute(recipe.output))


def _model(path: Path, source: str) -> Iterator[Problem]:
    folder = FilePath(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            yield Problem(
                path, f"the folder {_absolute(folder)} has no config.json; give a folder that holds a model"
            )
    elif folder.exists():
        yield Problem(path, f"{_absolute(folder)} is a file; give the folder that holds the model")
    elif _is_path(source):
        yield Problem(
            path, f"there is no folder {_absolute(folder)}; give one that exists, or a name on the hub"
        )


def _output(folder: FilePath) -> Iterator[Problem]:
    if folder.exists() and not folder.is_dir():
        yield Problem(("output",), f"{folder} is a file; name a folder")
        return
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest.is_dir():
        yield Problem(
            ("output",), f"{folder} cannot be made, because {nearest} is a file; name another folder"
        )
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield Problem(
            ("output",), f"{folder} cannot be written: no permission in {nearest}; name another folder"
        )


def _is_path(source: str) -> bool:
    starts = source.startswith(("./", "../", "/", "~")) or source in (".", "..")
    return starts or source.lower().endswith(DATA_ENDINGS) or source.count("/") > 1


def _absolute(path: str | FilePath) -> FilePath:
    return FilePath(os.path.abspath(path))
