"""A result against what it cost, as inline SVG: a point a variant, and a line through those that nothing beats in both.

    a variant is beaten where another one is at least as good in the result and in the cost, and better in one of them

Points carry their names where there is room; every point says its name under the pointer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stillroom.report.axis import Axis, fitted, tick_text
from stillroom.report.charts import is_drawable
from stillroom.report.markup import Markup, element, join, label

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 48, 350, 12, 236
_LETTER, _LONGEST = 6.9, 18
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Spot:
    name: str
    index: int
    cost: float
    result: float


def unbeaten(spots: Sequence[Spot], lower: bool = True) -> list[Spot]:
    """Those that no other spot beats, from the cheapest to the dearest."""
    sign = 1.0 if lower else -1.0

    def beats(one: Spot, other: Spot) -> bool:
        a, b = (one.cost, sign * one.result), (other.cost, sign * other.result)
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    kept = [spot for spot in spots if not any(beats(other, spot) for other in spots)]
    return sorted(kept, key=lambda spot: (spot.cost, sign * spot.result))


def tradeoff_chart(title: str, spots: Sequence[Spot], x_name: str, y_name: str, lower: bool = True) -> Markup:
    """A figure; `x_name` and `y_name` carry the units."""
    drawn = [spot for spot in spots if is_drawable(spot.cost) and is_drawable(spot.result)]
    caption = element(
        "figcaption", element("b", title), join(" ", element("small", f"{y_name} over {x_name}."))
    )
    if not drawn:
        absent = element("p", "— no run has recorded it", class_="absent")
        return element("figure", caption, absent, class_="chart")
    x_axis, y_axis = fitted(spot.cost for spot in drawn), fitted(spot.result for spot in drawn)
    places = [
        (_LEFT + x_axis(spot.cost) * (_RIGHT - _LEFT), _BOTTOM - y_axis(spot.result) * (_BOTTOM - _TOP))
        for spot in drawn
    ]
    front = [places[drawn.index(spot)] for spot in unbeaten(drawn, lower)]
    parts: list[str] = [element("title", title), element("desc", _description(drawn, x_name, y_name))]
    parts += _axes(x_axis, y_axis, x_name)
    if len(front) > 1:
        parts.append(element("path", class_="front", d="M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in front)))
    for spot, (x, y) in zip(drawn, places, strict=True):
        words = f"{spot.name}: {y_name} {spot.result:.4g}, {x_name} {spot.cost:.4g}"
        look = f"spot c{spot.index % 8}" + (" hollow" if spot.index // 8 % 2 else "")
        circle = element("circle", class_=look, cx=f"{x:.1f}", cy=f"{y:.1f}", r=4)
        parts.append(element("g", element("title", words), circle))
    parts += _names(drawn, places)
    svg = element("svg", *parts, viewBox=f"0 0 {_WIDTH} {_BOTTOM + 34}", role="img", aria_label=title)
    return element("figure", caption, svg, class_="chart")


def _axes(x_axis: Axis, y_axis: Axis, x_name: str) -> list[Markup]:
    parts = []
    for value in y_axis.ticks():
        y = _BOTTOM - y_axis(value) * (_BOTTOM - _TOP)
        parts.append(element("line", class_="grid", x1=_LEFT, x2=_RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}"))
        parts.append(element("text", tick_text(value), class_="tick y", x=_LEFT - 6, y=f"{y + 3.5:.1f}"))
    parts.append(element("line", class_="axis", x1=_LEFT, x2=_RIGHT, y1=_BOTTOM, y2=_BOTTOM))
    for value in x_axis.ticks(4):
        x = f"{_LEFT + x_axis(value) * (_RIGHT - _LEFT):.1f}"
        parts.append(element("line", class_="axis", x1=x, x2=x, y1=_BOTTOM, y2=_BOTTOM + 4))
        parts.append(element("text", tick_text(value), class_="tick x", x=x, y=_BOTTOM + 16))
    parts.append(element("text", x_name, class_="name", x=_RIGHT, y=_BOTTOM + 30))
    return parts


def _names(spots: Sequence[Spot], places: Sequence[tuple[float, float]]) -> list[Markup]:
    """A name on the first of six sides where it covers nothing; none where all are taken."""
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    parts = []
    for spot, (x, y) in zip(spots, places, strict=True):
        name = label(spot.name, _LONGEST)
        width = _LETTER * len(name)
        sides = [("", 0.0, x + 8), ("left", width, x - 8), ("mid", width / 2, x)]
        near = [(sides[0], y + 4), (sides[1], y + 4), (sides[2], y - 8), (sides[2], y + 17)]
        near += [(side, y + shift) for side in sides[:2] for shift in (-6, 14)]
        for (anchor, before, a), b in near:
            box = (a - before, b - 9, a - before + width, b + 2)
            if _is_inside(box) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                look = f"end c{spot.index % 8} {anchor}".strip()
                parts.append(element("text", name, class_=look, x=f"{a:.1f}", y=f"{b:.1f}"))
                break
    return parts


def _is_inside(box: Box) -> bool:
    return box[0] >= _LEFT + 2 and box[2] <= _WIDTH and box[1] >= 0 and box[3] <= _BOTTOM - 1


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _description(spots: Sequence[Spot], x_name: str, y_name: str) -> str:
    return " ".join(f"{spot.name}: {y_name} {spot.result:.4g} at {spot.cost:.4g} {x_name}." for spot in spots)
