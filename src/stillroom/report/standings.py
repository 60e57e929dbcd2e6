"""Who stands where in a comparison, by metric: means over seeds, paired differences, and who can be told apart.

    b     = the variant with the best mean among those with most seeds
    alike = the 95 % interval of the mean of (v_i - b_i), over the seeds i that v and b share, covers 0

Intervals are those of `numerics.paired_difference`, one pair at a time: nothing corrects for how many variants there
are.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from stillroom.numerics.paired_difference import Difference, paired_difference
from stillroom.report import numbers
from stillroom.report.directions import TO_TEACHER, Better

HELD_OUT, OVERVIEW = "Held-out set", "All test sets"
"""Titles of the two sheets that are no exam."""
Values = Mapping[int, float]
"""A metric of one variant by seed."""


@dataclass(frozen=True)
class Column:
    """A metric, how it is written, and which direction is the better one."""

    key: str
    title: str
    unit: str = ""
    better: Better = ""
    factor: float = 1.0
    decimals: int = 3

    @property
    def repeats_loss(self) -> bool:
        """Perplexity says what the loss says, on a scale that is wide."""
        return self.key.removesuffix(TO_TEACHER) == "perplexity"

    def write(self, value: float) -> str:
        return numbers.fixed(value * self.factor, self.decimals)


@dataclass(frozen=True)
class Sheet:
    """Everything measured on one set of data: the held-out set, or an exam."""

    title: str
    columns: Sequence[Column]
    values: Mapping[str, Mapping[str, Values]]
    """By variant, then metric. Only finite values; a variant without any is there and empty."""
    marks: Mapping[str, Mapping[str, float]]
    """Teacher and untrained student, by metric."""
    adjusted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """p of the paired difference after Holm's correction for the number of variants, where the file has it."""

    @property
    def main(self) -> Column | None:
        """The metric by which variants are ordered first; None where none has a direction."""
        return next((column for column in self.columns if column.better), None)

    def difference(self, column: Column, variant: str, against: str) -> Difference | None:
        """`variant` minus `against` over the seeds that both have, in the unit of the raw values."""
        mine, others = (self.values.get(name, {}).get(column.key, {}) for name in (variant, against))
        return paired_difference(mine, others, column.better != "higher")


@dataclass(frozen=True)
class Standing:
    """One variant on one metric. `index` is its place in the comparison, and so its color."""

    name: str
    index: int
    values: Values
    to_best: Literal["best", "alike", "behind", "unknown"]
    """"unknown": too few common seeds to say, or no value."""

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def deviation(self) -> float | None:
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None


def standings(sheet: Sheet, column: Column) -> list[Standing]:
    """From the best mean to the worst; variants without a value last, in the order of the comparison."""
    values = {name: by_key.get(column.key, {}) for name, by_key in sheet.values.items()}
    sign = -1.0 if column.better == "higher" else 1.0
    means = {name: sign * statistics.fmean(v.values()) for name, v in values.items() if v}
    most = max((len(v) for v in values.values()), default=0)
    best = min((name for name in means if len(values[name]) == most), key=means.__getitem__, default="")
    found = [
        Standing(name, index, values[name], _to_best(sheet, column, name, best))
        for index, name in enumerate(values)
    ]
    return sorted(found, key=lambda each: (each.name not in means, means.get(each.name, 0.0)))


def covers_zero(difference: Difference | None) -> bool | None:
    """None where there is no interval."""
    if difference is None or difference.low is None or difference.high is None:
        return None
    return difference.low <= 0 <= difference.high


def _to_best(
    sheet: Sheet, column: Column, name: str, best: str
) -> Literal["best", "alike", "behind", "unknown"]:
    if name == best:
        return "best"
    covered = covers_zero(sheet.difference(column, name, best))
    return "unknown" if covered is None else "alike" if covered else "behind"
