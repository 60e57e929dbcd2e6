"""What became of one claim: the claim, the numbers, a sentence, the verdict."""

from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["holds", "holds in part", "false", "cannot be tested from the paper"]


@dataclass(frozen=True)
class Finding:
    name: str
    claim: str
    """What the paper says, and where."""
    verdict: Verdict
    sentence: str
    """What came out, in words and numbers."""
    numbers: dict[str, Any]
    """The same for programs; a list of rows under `table` is printed as a table."""
