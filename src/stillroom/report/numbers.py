"""How numbers are written in tables, sentences and on axes: short, with units, and the same everywhere."""

import math

_SPACE = "\u00a0"  # a number and its unit stay on one line
_MINUS = "\u2212"


def finite(value: object) -> float | None:
    """`value` as a float; None where it is not a number or not finite. True and false are no numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has integers that no float can hold
        return None
    return number if math.isfinite(number) else None


def fixed(value: float, decimals: int = 3) -> str:
    """With `decimals` places; powers of ten where that would print nothing but zeros, or a row of digits."""
    if value != 0 and (abs(value) < 0.5 * 10**-decimals or abs(value) >= 1e7):
        return with_minus(f"{value:.2e}")
    return with_minus(f"{value:,.{decimals}f}")


def cosine(value: float) -> str:
    """Two decimals, whatever its size: a cosine of 0.0008 is zero to a reader."""
    return with_minus(f"{value + 0.0:.2f}".replace("-0.00", "0.00"))


def with_minus(text: str) -> str:
    """The sign as wide as a plus, for the hyphen that Python prints."""
    return text.replace("-", _MINUS)


def perplexity(value: float) -> str:
    return fixed(value, 2 if value < 1000 else 0)


def percent(share: float, decimals: int = 1) -> str:
    """0.612 as 61.2 %."""
    return fixed(100 * share, decimals) + _SPACE + "%"


def amount(value: float) -> str:
    """Three digits and a prefix: 2,096,640 as 2.10 M. B is 10^9, as in the names of models."""
    for size, prefix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * size:
            return _three_digits(value / size) + _SPACE + prefix
    return f"{value:.0f}" if value == round(value) else _three_digits(value)


def memory(size: float) -> str:
    """Bytes in binary units."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return _three_digits(size / unit) + _SPACE + name
    return f"{size:.0f}{_SPACE}B"


def duration(seconds: float) -> str:
    """The two largest units: 1 h 12 min, 43 s."""
    if seconds < 59.5:
        return f"{seconds:.0f}{_SPACE}s" if seconds >= 9.95 else f"{seconds:.1f}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min" + (f" {rest}{_SPACE}s" if rest else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours}{_SPACE}h" + (f" {minutes}{_SPACE}min" if minutes else "")
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days:,}{_SPACE}d" + (f" {hours}{_SPACE}h" if hours else "")


def _three_digits(value: float) -> str:
    size = abs(value)
    return f"{value:,.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"
