"""How the share of a merged head is distributed over texts, as inline SVG: a box a merge, a chart a pair of layers.

A box holds the middle half of the texts, its line the median, the thin line 90 % of them, dots the lowest and highest.
Dashed lines are the bounds 0 and 1. A color is a head of the student, the same in all layers, as in Figure 2 of SHD.
"""

from collections.abc import Callable, Iterator, Sequence

from stillroom.core.inspection import LayerMerges, Merge
from stillroom.report.axis import Axis, tick_text
from stillroom.report.markup import Markup, element
from stillroom.report.numbers import percent, with_minus

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 190, 40, 8, 8, 34
_WIDEST = 26.0


def merge_shares(found: LayerMerges, axis: Axis) -> Markup:
    """The figure of one pair of layers that merges something."""
    title = f"Student layer {found.layer}, teacher {found.partner}"
    note = f"{percent(found.outside or 0.0)} outside."
    boxes = list(_boxes(found.merges))
    step = (_WIDTH - _LEFT - _RIGHT) / len(boxes)

    def y(value: float) -> float:
        return _TOP + (1 - axis(value)) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [element("title", title), element("desc", " ".join(words for _, _, words in boxes))]
    parts += _grid(axis, y)
    places: dict[int, list[float]] = {}
    for index, (merge, quantiles, words) in enumerate(boxes):
        x = _LEFT + (index + 0.5) * step
        drawn = _box(quantiles, x, min(_WIDEST, 0.6 * step), y)
        parts.append(element("g", element("title", words), *drawn, class_=f"c{merge.head % 8}"))
        places.setdefault(merge.head, []).append(x)
    for head, xs in places.items():
        x = sum(xs) / len(xs)
        parts.append(element("text", str(head), class_="tick x", x=f"{x:.1f}", y=_HEIGHT - 18))
    parts.append(element("text", "student head", class_="name", x=_WIDTH - _RIGHT, y=_HEIGHT - 4))
    caption = element("figcaption", element("b", title), " ", element("small", note))
    svg = element("svg", *parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=title)
    return element("figure", caption, svg, class_="chart")


def shares_axis(layers: Sequence[LayerMerges]) -> Axis:
    """One for all layers: at least 0 to 1, and all values."""
    ends = [
        value
        for layer in layers
        for _, quantiles, _ in _boxes(layer.merges)
        for value in (quantiles[0], quantiles[-1])
    ]
    low, high = min([0.0, *ends]), max([1.0, *ends])
    return Axis(low - 0.03 * (high - low), high + 0.03 * (high - low))


def _boxes(merges: Sequence[Merge]) -> Iterator[tuple[Merge, list[float], str]]:
    """Of a pair the first share alone, since the second is the rest of one; of more heads all."""
    for merge in merges:
        shown = merge.quantiles[:1] if len(merge.partners) == 2 else merge.quantiles
        for partner, quantiles in zip(merge.partners, shown, strict=False):
            others = " and ".join(str(each) for each in merge.partners if each != partner)
            low, below, middle, above, high = (with_minus(f"{value:.2f}") for value in quantiles[1:-1])
            yield (
                merge,
                quantiles,
                f"Student head {merge.head}: share of teacher head {partner}, beside {others}: median {middle}, half "
                f"of the texts from {below} to {above}, 90 % from {low} to {high}.",
            )


def _grid(axis: Axis, y: Callable[[float], float]) -> list[Markup]:
    parts = []
    for value in axis.ticks(4):
        height = f"{y(value):.1f}"
        look = "level" if value in (0.0, 1.0) else "grid"
        parts.append(element("line", class_=look, x1=_LEFT, x2=_WIDTH - _RIGHT, y1=height, y2=height))
        parts.append(
            element("text", tick_text(value), class_="tick y", x=_LEFT - 6, y=f"{y(value) + 3.5:.1f}")
        )
    return parts


def _box(quantiles: Sequence[float], x: float, width: float, y: Callable[[float], float]) -> list[Markup]:
    lowest, low, below, middle, above, high, highest = (f"{y(value):.1f}" for value in quantiles)
    left, right = f"{x - width / 2:.1f}", f"{x + width / 2:.1f}"
    outline = f"{left},{below} {right},{below} {right},{above} {left},{above}"
    return [
        element("line", class_="whisker", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=low, y2=high),
        element("polygon", class_="box", points=outline),
        element("line", class_="median", x1=left, x2=right, y1=middle, y2=middle),
        *(element("circle", class_="extreme", cx=f"{x:.1f}", cy=end, r=1.3) for end in (lowest, highest)),
    ]
