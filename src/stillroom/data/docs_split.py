"""Which documentation is held out: whole parts of an installation, the same ones everywhere.

A part is a top-level module of the standard library ("json") or a sub-package of another package
("torch.nn"). A stable hash of its name decides. Documentation repeats itself across modules, so held-out
answers that repeat training answers in more than half of their eight-word runs are dropped.
"""

import hashlib
import re
from collections.abc import Sequence

REFERENCE = "language reference"

# Twins and accelerators of one module stay on one side of the split.
_SAME_PART = {
    "ntpath": "os",
    "posixpath": "os",
    "genericpath": "os",
    "nturl2path": "urllib",
    "opcode": "dis",
    "_pydecimal": "decimal",
    "_pydatetime": "datetime",
    "_pylong": "int",
    "_pyio": "io",
    "_strptime": "time",
    "_pyrepl": "code",
    "_collections_abc": "collections",
    "_weakrefset": "weakref",
    "_compression": "gzip",
    "_osx_support": "sysconfig",
    "_aix_support": "sysconfig",
    "multiprocessing": "concurrent",
    "threading": "concurrent",
    "dummy_threading": "concurrent",
}
_RUN = 8


def part_of(module: str, package: str) -> str:
    """The part that a dotted module belongs to; `package` is empty for the standard library."""
    first, *rest = module.split(".")
    if package:
        return ".".join([first, *rest[:1]])
    return _SAME_PART.get(first, first)


def is_held_out(part: str) -> bool:
    """Whether a part ("json", "torch.nn") is for evaluation: one in eight, the same ones everywhere."""
    return part != REFERENCE and stable_hash(part) % 8 == 0


def without_repeats(
    held_out: Sequence[dict[str, str]], train: Sequence[dict[str, str]]
) -> list[dict[str, str]]:
    """The held-out rows whose `output` is new: at most half of its eight-word runs occur in `train`."""
    known = {run for row in train for run in _runs(row["output"])}
    return [row for row in held_out if _share_known(_runs(row["output"]), known) <= 0.5]


def stable_hash(text: str) -> int:
    """A hash that is the same in every process and on every machine, unlike `hash`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _share_known(runs: list[int], known: set[int]) -> float:
    return sum(run in known for run in runs) / len(runs)


def _runs(text: str) -> list[int]:
    """Hashes of the runs of eight words; a shorter text is one run."""
    words = re.findall(r"\w+", text.lower())
    return [hash(tuple(words[start : start + _RUN])) for start in range(max(1, len(words) - _RUN + 1))]
