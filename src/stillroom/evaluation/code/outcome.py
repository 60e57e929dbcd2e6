"""What a program may use up, and what came of it."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "passed",
    "failed assertion",
    "error",
    "timeout",
    "memory",
    "output flood",
    "forbidden",
    "early exit",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Limits:
    """What one program may use up."""

    seconds: float = 3.0
    """Of processor time, rounded up to whole ones: a busy machine does not change the result."""
    wall_seconds: float | None = None
    """From the program's first line on; ten times `seconds` where not given, for a processor may be shared."""
    memory_bytes: int = 2**30
    file_bytes: int = 4 * 2**20
    folder_bytes: int = 16 * 2**20
    output_bytes: int = 64 * 2**10

    @property
    def patience(self) -> float:
        return 10 * self.seconds if self.wall_seconds is None else self.wall_seconds


@dataclass(frozen=True)
class Outcome:
    """What came of a program. Only the kind "passed" means that it ran to its end without an exception."""

    kind: Kind
    detail: str = ""
    """The exception, or why the program was ended."""
    output: str = ""
    """What it printed, both streams, up to the limit."""
    seconds: float = 0.0
