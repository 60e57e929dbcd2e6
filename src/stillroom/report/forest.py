"""A forest plot: paired differences with their intervals, one line a variant, on one axis around zero.

Every line is its own small SVG whose places are percentages, between a name and numbers that are ordinary text: the
plot is as wide as the page and its letters keep their size on a phone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stillroom.report.axis import Axis, tick_text
from stillroom.report.charts import is_drawable
from stillroom.report.markup import Markup, element, join, label

_HEIGHT, _MIDDLE = 22, 11
_FAR = (
    1.5  # an interval is cut where it leaves the differences themselves by more than this many of their spans
)


@dataclass(frozen=True)
class Effect:
    """Variant minus the one it is paired with, in the unit that is written; no interval where `low` is None."""

    name: str
    index: int
    mean: float
    low: float | None
    high: float | None
    seeds: Sequence[float]
    text: str
    """The numbers beside the line."""


def forest_plot(caption: str, effects: Sequence[Effect], zero: str, better: str) -> Markup:
    """`zero` names the variant that the others are paired with; `better` is "lower" or "higher".

    A filled point: its interval leaves zero out. Small dots are the differences of single seeds.
    """
    drawn = [each for each in effects if is_drawable(each.mean)]
    if not drawn:
        return element("p", f"— no variant shares a seed with {label(zero, 40)}.", class_="absent")
    axis = _axis(drawn)
    left, right = ("better", "worse") if better == "lower" else ("worse", "better")
    ends = element(
        "li",
        element("span", f"minus {label(zero, 40)}", class_="who"),
        _scale(axis),
        element("span", class_="effect"),
        class_="scale",
    )
    words = element("span", element("span", f"← {left}"), element("span", f"{right} →"), class_="sides")
    rows = [_row(each, axis) for each in drawn]
    note = _note(drawn, axis)
    head = element("h3", caption)
    where = element(
        "li", element("span", class_="who"), words, element("span", class_="effect"), class_="scale"
    )
    return join(
        head,
        element("ul", where, *rows, ends, class_="forest"),
        element("p", note, class_="aside forest-note"),
    )


def _note(effects: Sequence[Effect], axis: Axis) -> str:
    if all(each.low is None for each in effects):
        return "One seed each, so there is no interval."
    note = "Line: 95 % interval of the mean difference; filled point: it leaves zero out; small dots: single seeds."
    if any(_is_cut(each, axis) for each in effects):
        note += " A line without a bar at its end goes on beyond the scale."
    return note


def _row(each: Effect, axis: Axis) -> Markup:
    parts: list[str] = [
        element("title", f"{each.name}: {each.text}"),
        _upright("zero", axis, 0.0, 0, _HEIGHT),
    ]
    decided = each.low is not None and each.high is not None and not each.low <= 0 <= each.high
    if each.low is not None and each.high is not None:
        low, high = max(each.low, axis.low), min(each.high, axis.high)
        parts.append(
            element(
                "line", class_="whisker", x1=_place(axis, low), x2=_place(axis, high), y1=_MIDDLE, y2=_MIDDLE
            )
        )
        # an end that lies off the scale has no bar across it
        ends = [value for value in (each.low, each.high) if axis.low <= value <= axis.high]
        parts += [_upright("whisker", axis, value, _MIDDLE - 4, _MIDDLE + 4) for value in ends]
    parts += [
        element("circle", class_="seed", cx=_place(axis, value), cy=_MIDDLE + 7, r=1.6)
        for value in each.seeds
        if is_drawable(value) and len(each.seeds) > 1
    ]
    look = "point" if decided else "point hollow"
    parts.append(element("circle", class_=look, cx=_place(axis, each.mean), cy=_MIDDLE, r=4.2))
    picture = element("svg", *parts, role="img", aria_label=f"{each.name}: {each.text}", height=_HEIGHT)
    return element(
        "li",
        element("span", label(each.name, 60), class_="who", title=each.name),
        picture,
        element("span", each.text, class_="effect"),
        class_=f"c{each.index % 8}",
    )


def _is_cut(each: Effect, axis: Axis) -> bool:
    return any(value is not None and not axis.low <= value <= axis.high for value in (each.low, each.high))


def _axis(effects: Sequence[Effect]) -> Axis:
    """Zero, every difference, and intervals as far as they do not press the differences flat."""
    inner = [0.0, *(each.mean for each in effects)]
    inner += [value for each in effects for value in each.seeds if is_drawable(value)]
    reach = _FAR * (_span(inner) or 1.0)
    ends = [value for each in effects for value in (each.low, each.high) if value is not None]
    low = max(min([*inner, *ends]), min(inner) - reach)
    high = min(max([*inner, *ends]), max(inner) + reach)
    air = 0.04 * ((high - low) or 1.0)
    return Axis(low - air, high + air)


def _span(values: Iterable[float]) -> float:
    kept = list(values)
    return max(kept) - min(kept)


def _scale(axis: Axis) -> Markup:
    parts: list[str] = [
        element("line", class_="axis", x1="0%", x2="100%", y1=1, y2=1),
    ]
    for value in axis.ticks(4):
        parts.append(_upright("axis", axis, value, 1, 5))
        parts.append(element("text", tick_text(value), class_="tick x", x=_place(axis, value), y=18))
    return element("svg", *parts, aria_hidden="true", height=_HEIGHT)


def _upright(look: str, axis: Axis, value: float, top: float, bottom: float) -> Markup:
    place = _place(axis, value)
    return element("line", class_=look, x1=place, x2=place, y1=top, y2=bottom)


def _place(axis: Axis, value: float) -> str:
    return f"{100 * axis(value):.2f}%"
