"""One setting against the value of its trials, as inline SVG: a dot a trial, words side by side, no lines between."""

from collections.abc import Sequence
from typing import Any

from stillroom.report.axis import Axis, fitted, tick_text
from stillroom.report.markup import Markup, element, join, label

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 48, 350, 12, 176


def slice_chart(
    title: str, points: Sequence[tuple[Any, float]], y_name: str, is_log: bool, note: str = ""
) -> Markup:
    """`points` are (setting, value); settings that are not all numbers are drawn as categories."""
    caption = element(
        "figcaption", element("b", title), join(" ", element("small", f"{y_name}. {note}".strip()))
    )
    if not points:
        return element(
            "figure", caption, element("p", "— no trial came to a value", class_="absent"), class_="chart"
        )
    y_axis = fitted(value for _, value in points)
    places, ticks = _across([setting for setting, _ in points], is_log)
    parts = [element("title", title), element("desc", f"{len(points)} trials.")]
    for value in y_axis.ticks():
        y = f"{_height(y_axis, value):.1f}"
        parts.append(element("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=y, y2=y))
        parts.append(
            element("text", tick_text(value), class_="tick y", x=_LEFT - 6, y=f"{float(y) + 3.5:.1f}")
        )
    parts.append(element("line", class_="axis", x1=_LEFT, x2=_RIGHT, y1=_BOTTOM, y2=_BOTTOM))
    for place, words in ticks:
        x = f"{_LEFT + place * (_RIGHT - _LEFT):.1f}"
        parts.append(element("text", words, class_="tick x", x=x, y=_BOTTOM + 16))
    for (setting, value), place in zip(points, places, strict=True):
        words = f"{label(str(setting), 40)}: {value:.4g}"
        x, y = f"{_LEFT + place * (_RIGHT - _LEFT):.1f}", f"{_height(y_axis, value):.1f}"
        parts.append(element("g", element("title", words), element("circle", class_="c1", cx=x, cy=y, r=3)))
    svg = element("svg", *parts, viewBox=f"0 0 {_WIDTH} {_BOTTOM + 26}", role="img", aria_label=title)
    return element("figure", caption, svg, class_="chart")


def _height(axis: Axis, value: float) -> float:
    return _BOTTOM - axis(value) * (_BOTTOM - _TOP)


def _across(settings: Sequence[Any], is_log: bool) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each setting lies from 0 to 1, and the ticks below."""
    numbers = [each for each in settings if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < len(settings) or (not is_log and len(set(numbers)) <= 6):
        names = sorted(set(settings), key=lambda each: (isinstance(each, str), str(type(each)), each or 0))
        at = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
        return [at[each] for each in settings], [(at[name], label(str(name), 12)) for name in names]
    low, high = min(numbers), max(numbers)
    if low == high:
        return [0.5] * len(numbers), [(0.5, tick_text(low))]
    axis = Axis(low, high, is_log)
    return [axis(each) for each in numbers], [(axis(tick), tick_text(tick)) for tick in axis.ticks(4)]
