"""When a held-out loss came down to a target, in steps and seconds, from metrics.jsonl alone.

Between two evaluations the loss is taken to run straight; the first crossing counts. Losses of different methods are
different functions: what is compared is the held-out cross-entropy, the same for all.
"""

from collections.abc import Mapping, Sequence
from typing import Any

METRIC = "loss"


def reach(rows: Sequence[Mapping[str, Any]], target: float, key: str) -> float | None:
    """The value of `key` ("step", "seconds") at which the held-out loss first was `target` or less; None: never."""
    before: tuple[float, float] | None = None
    for place, loss in held_out(rows, key):
        if loss <= target:
            if before is None or before[1] == loss:
                return place
            return before[0] + (place - before[0]) * (before[1] - target) / (before[1] - loss)
        before = (place, loss)
    return None


def held_out(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """The held-out losses in the order of training, each at its `key`; where a step is written twice, the last."""
    found: dict[float, tuple[float, float]] = {}
    for row in rows:
        if row.get("split") == "eval" and isinstance(row.get(METRIC), int | float) and key in row:
            found[row["step"]] = (float(row[key]), float(row[METRIC]))
    return [found[step] for step in sorted(found)]


def best(rows: Sequence[Mapping[str, Any]]) -> float | None:
    losses = [loss for _, loss in held_out(rows, "step")]
    return min(losses) if losses else None
