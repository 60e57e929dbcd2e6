"""Our numbers beside the published ones, and whether both differences point the same way.

The published effect of a variant is its number minus that of the variant all are paired with. Ours is the mean of the
paired differences over the seeds; its direction is known only where the 95 % interval leaves out zero. So a verdict is
"yes", "no", or "cannot tell" with the reason, and one or two seeds rarely tell.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stillroom.numerics.paired_difference import Difference, paired_difference
from stillroom.report.numbers import finite
from stillroom.reproduce.published import Column, Published


@dataclass(frozen=True)
class Pair:
    """One published number and ours. Differences are to the variant all are paired with; None where there is none."""

    column: str
    variant: str
    ours_is: str
    published: float | None
    published_difference: float | None
    mean: float | None
    deviation: float | None
    difference: Difference | None
    same_direction: str

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def side_by_side(content: Mapping[str, Any], published: Published, scale: str) -> list[Pair]:
    """Column by column, rows that only we have last. `content` is that of compare.json."""
    return [
        _pair(content, published, name, column, row, column.keys(scale))
        for name, column in published.columns.items()
        for row in dict.fromkeys([*published.rows, *content["variants"]])
        if name in published.rows.get(row, {}) or column.keys(scale)
    ]


def not_found(pairs: Sequence[Pair], ran: bool) -> list[str]:
    """A sentence for every column of which no run has the number that should stand beside it: its name is wrong, or
    its exam failed. `ran`: whether any run is done."""
    wanted = {pair.column: pair.ours_is for pair in pairs if pair.ours_is}
    found = {pair.column for pair in pairs if pair.mean is not None}
    return [
        f"NOTHING OF OURS beside {column!r}: no run has {keys}."
        for column, keys in wanted.items()
        if ran and column not in found
    ]


def direction(published: float | None, ours: Difference | None) -> str:
    """ "yes", "no", or "cannot tell: why" """
    if published is None or ours is None:
        return "cannot tell: nothing to hold it against"
    if published == 0:
        return "cannot tell: the paper prints no difference"
    if ours.low is None or ours.high is None:
        return "cannot tell: one seed"
    if ours.low <= 0 <= ours.high:
        return "cannot tell: our interval holds zero"
    return "yes" if (ours.mean > 0) == (published > 0) else "no"


def _pair(
    content: Mapping[str, Any],
    published: Published,
    name: str,
    column: Column,
    row: str,
    keys: Sequence[str],
) -> Pair:
    against = published.against or content["against"]
    printed = published.rows.get(row, {}).get(name)
    beside = published.rows.get(against, {}).get(name)
    change = None if printed is None or beside is None or row in (against, "teacher") else printed - beside
    if row == "teacher":
        mark = _mark(content, keys, column.times)
        return Pair(name, row, " ".join(keys), printed, None, mark, None, None, "")
    ours = _by_seed(content, row, keys, column.times)
    difference = None
    if row != against:
        difference = paired_difference(
            ours, _by_seed(content, against, keys, column.times), column.better == "lower"
        )
    verdict = "" if row == against or printed is None else direction(change, difference)
    if row in published.not_run:
        verdict = f"not run: {published.not_run[row]}"
    return Pair(
        name,
        row,
        " ".join(keys),
        printed,
        change,
        statistics.fmean(ours.values()) if ours else None,
        statistics.stdev(ours.values()) if len(ours) > 1 else None,
        difference,
        verdict,
    )


def _by_seed(content: Mapping[str, Any], variant: str, keys: Sequence[str], times: float) -> dict[int, float]:
    """Our number of every run; `to_target` lies beside the runs and is looked up by their seeds."""
    found = content["variants"].get(variant)
    if found is None or not keys:
        return {}
    targets = {each["seed"]: each for each in found.get("to_target", ())}
    values = {
        run["seed"]: _inside({**run, "to_target": targets.get(run["seed"])}, keys) for run in found["runs"]
    }
    return {seed: value * times for seed, value in values.items() if value is not None}


def _mark(content: Mapping[str, Any], keys: Sequence[str], times: float) -> float | None:
    marks = dict(content["marks"].get("teacher", {}))
    exams = (content.get("tests") or {}).get("marks", {}).get("teacher", {})
    mark = _inside({**marks, "tests": exams}, keys) if keys else None
    return None if mark is None else mark * times


def _inside(values: Any, keys: Sequence[str]) -> float | None:
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    return finite(values)
