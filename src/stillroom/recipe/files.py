"""What a recipe says about files, held against the disk, before anything heavy starts.

A source that looks like a path (`./`, `../`, `/`, `~`, a data file's ending, more than one slash) must exist;
any other name may be one of the hub. Relative paths start where the command is started, not where the recipe
lies.
"""

import os
from collections.abc import Iterator
from pathlib import Path as FilePath

from stillroom.data.sources import looks_like_path
from stillroom.recipe.problems import Path, Problem
from stillroom.recipe.schema import Recipe


def find_problems(recipe: Recipe) -> Iterator[Problem]:
    """Missing models and data, and an output that cannot be written."""
    yield from _model(("student", "model"), recipe.student.model)
    if recipe.teacher is not None:
        yield from _model(("teacher", "model"), recipe.teacher.model)
        for number, source in enumerate(recipe.teacher.others):
            yield from _model(("teacher", "others", number), source)
        if recipe.teacher.use == "cached" and recipe.teacher.cache is not None:
            yield from _cache(("teacher", "cache"), os.path.abspath(recipe.teacher.cache))
    yield from _data(("data", "train"), recipe.data.train)
    if recipe.data.eval is not None:
        yield from _data(("data", "eval"), recipe.data.eval)
    yield from _output(("output",), os.path.abspath(recipe.output))


def _model(path: Path, source: str) -> Iterator[Problem]:
    folder = os.path.abspath(source)
    if os.path.isdir(folder):
        if not os.path.isfile(os.path.join(folder, "config.json")):
            yield Problem(path, f"the folder {folder} has no config.json; give a folder that holds a model")
    elif os.path.exists(folder):
        yield Problem(path, f"{folder} is a file; give the folder that holds the model")
    elif _is_path(source):
        yield Problem(path, f"there is no folder {folder}; give one that exists, or a name on the hub")


def _cache(path: Path, folder: str) -> Iterator[Problem]:
    if not os.path.isfile(os.path.join(folder, "manifest.json")):
        sentence = f"{folder} holds no cache (no manifest.json); write one with `stillroom cache`"
        yield Problem(path, sentence)


def _data(path: Path, source: str) -> Iterator[Problem]:
    if looks_like_path(source) and not os.path.exists(source):
        yield Problem(path, f"there is no file {os.path.abspath(source)}; give one that exists")


def _output(path: Path, folder: str) -> Iterator[Problem]:
    if os.path.exists(folder) and not os.path.isdir(folder):
        yield Problem(path, f"{folder} is a file; name a folder")
        return
    parents = (folder, *map(str, FilePath(folder).parents))
    nearest = next(parent for parent in parents if os.path.exists(parent))
    if not os.path.isdir(nearest):
        yield Problem(path, f"{folder} cannot be made, because {nearest} is a file; name another folder")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield Problem(path, f"{folder} cannot be written: no permission in {nearest}; name another folder")


def _is_path(source: str) -> bool:
    starts = source.startswith(("./", "../", "/", "~")) or source in (".", "..")
    return starts or source.count("/") > 1
