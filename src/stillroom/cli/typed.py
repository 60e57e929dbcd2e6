"""The command as it can be typed on another machine, for pages that others read."""

import shlex
from collections.abc import Sequence
from pathlib import Path


def typed(words: Sequence[str]) -> str:
    """Of absolute paths the last name stays. `words` are those after the name of the program."""
    return shlex.join(["stillroom", *("=".join(map(_portable, word.split("="))) for word in words)])


def _portable(word: str) -> str:
    return f".../{Path(word).name}" if word.startswith(("/", "~", "..")) else word
