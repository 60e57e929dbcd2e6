"""When a held-out loss came down to a target, in steps and seconds, from metrics.jsonl alone.

Between two evaluations the loss is taken to run straight; the first crossing counts. Losses of different methods are
different functions: what is compared is the held-out cross-entropy, the same for all.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

METRIC = "loss"


def reach(rows: Sequence[Mapping[str, Any]], target: float, key: str) -> float | None:
    """The value of `key` ("step", "seconds") at which the held-out loss first was `target` or less; None: never."""
    return crossing(held_out(rows, key), target)


def crossing(curve: Sequence[tuple[float, float]], target: float) -> float | None:
    """Where a curve of (place, value), sorted by place, first comes down to `target`: straight between its points.

    The first place where the curve begins at the target or below; None where it never gets there.
    """
    before: tuple[float, float] | None = None
    for place, value in curve:
        if value <= target:
            if before is None:
                return place
            return before[0] + (place - before[0]) * (before[1] - target) / (before[1] - value)
        before = (place, value)
    return None


def held_out(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """The finite held-out losses in the order of training, each at its `key`; of a step written twice, the last."""
    found: dict[float, tuple[float, float]] = {}
    for row in rows:
        loss = row.get(METRIC)
        if (
            row.get("split") == "eval"
            and isinstance(loss, int | float)
            and math.isfinite(loss)
            and key in row
        ):
            found[row["step"]] = (float(row[key]), float(loss))
    return [found[step] for step in sorted(found)]


def best(rows: Sequence[Mapping[str, Any]]) -> float | None:
    losses = [loss for _, loss in held_out(rows, "step")]
    return min(losses) if losses else None
