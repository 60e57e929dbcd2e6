"""Checks of settings: one sentence that names the setting, what it may be and what came."""

import math
from collections.abc import Sequence

from stillroom.core.errors import BadInput


def check_number(name: str, value: float, interval: str) -> None:
    """Raise `BadInput` unless `value` is a finite number in `interval`, written as "[0, 1)" or "(0, inf)"."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadInput(f"{name} must be a number in {interval}, got {value!r}")
    above = low < value if interval[0] == "(" else low <= value
    below = value < high if interval[-1] == ")" else value <= high
    if not (above and below and math.isfinite(value)):
        raise BadInput(f"{name} must lie in {interval}, got {value!r}")


def check_flag(name: str, value: bool) -> None:
    """Raise `BadInput` unless `value` is a boolean."""
    if not isinstance(value, bool):
        raise BadInput(f"{name} must be true or false, got {value!r}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `BadInput` unless `value` is one of `choices`."""
    if value not in choices:
        raise BadInput(f"{name} must be one of {', '.join(choices)}, got {value!r}")
