"""One axis of a chart: where a value lies between the two ends, and which ticks a reader expects there."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from stillroom.report.numbers import with_minus

_TINY = 1e-30  # smaller differences and values count as zero: ratios and powers of ten stay finite
_WIDE = 30.0  # highest over lowest value from which on a linear axis shows only the beginning of a curve


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """0 at `low`, 1 at `high`."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values: 1, 2 or 5 times a power of ten."""
        if self.is_log:
            decades = math.log10(self.high / self.low)
            multiples = (1, 2, 5) if decades < 2.5 else (1,)
            stride = max(1, math.ceil(decades / count))
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [m * 10.0**e for e in exponents if e % stride == 0 for m in multiples]
        else:
            step = _round_step((self.high - self.low) / count)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            values = [float(f"{i * step:.12g}") for i in range(first, last + 1)]
        return [value for value in values if -1e-9 <= self(value) <= 1 + 1e-9]


def fitted(values: Iterable[float]) -> Axis:
    """An axis over the finite `values` with some air; logarithmic where all are positive and range widely."""
    kept = list(values)
    low, high = min(kept), max(kept)
    if low > _TINY and high / low >= _WIDE:
        air = (high / low) ** 0.04
        return Axis(low / air, high * air, is_log=True)
    largest, spread = max(abs(low), abs(high)), high - low
    # a flat line gets an axis of its own size around it, not one that shows rounding as mountains
    flat = 0.5 * largest if largest > _TINY else 1.0
    air = 0.05 * spread if spread > max(1e-9 * largest, _TINY) else flat
    bottom = 0.0 if low >= 0 and low - air < 0 else low - air
    return Axis(bottom, high + air)


def tick_text(value: float) -> str:
    """As short as can be told apart: 1.2M, 0.05, 5e-4."""
    size = abs(value)
    for unit, prefix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if unit <= size < 1e15:
            return with_minus(f"{value / unit:.6g}{prefix}")
    if size and (size < 1e-2 or size >= 1e15):
        mantissa, exponent = f"{value:.3e}".split("e")
        return with_minus(f"{float(mantissa):g}e{int(exponent)}")
    return with_minus(f"{value:.6g}")


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    # halfway between neighbors on a logarithmic scale: sqrt(2), sqrt(10), sqrt(50)
    return power * next((m for m, limit in ((1, 1.414), (2, 3.162), (5, 7.071)) if raw / power < limit), 10)
