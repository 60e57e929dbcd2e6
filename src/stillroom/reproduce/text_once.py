"""The documentation of this Python as two files, so that many runs do not each read the installation anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stillroom.data.python_docs import harvest, write_harvest
from stillroom.recipe.schema import PYTHON_DOCS


def read_text_once(recipe: dict[str, Any], folder: Path, say: Callable[[str], None]) -> None:
    """Where `recipe` trains on python-docs, write the text to `folder`/python_docs, once, and name the files in it."""
    data = recipe.get("data")
    if not isinstance(data, dict) or data.get("train") != PYTHON_DOCS:
        return
    place = (folder / "python_docs").absolute()
    paths = place / "train.jsonl", place / "eval.jsonl"
    if not all(path.exists() for path in paths):
        say("reading the documentation of this Python")
        write_harvest(harvest(), place)
    data["train"], data["eval"] = map(str, paths)
