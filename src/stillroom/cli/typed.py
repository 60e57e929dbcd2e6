"""The command as it can be typed on another machine, for pages that others read."""

import shlex
from collections.abc import Sequence

from stillroom.compare.portable import portable


def typed(words: Sequence[str]) -> str:
    """Of absolute paths the last name stays. `words` are those after the name of the program."""
    return shlex.join(["stillroom", *("=".join(map(portable, word.split("="))) for word in words)])
