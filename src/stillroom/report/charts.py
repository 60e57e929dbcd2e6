"""A line chart as inline SVG, colored by the page's style sheet: no script, no image, no library.

Every line carries its name at its right end instead of a legend. A chart is as wide as one column of the page
and as wide as a phone, so that its letters keep their size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from stillroom.report.axis import Axis, fitted, tick_text
from stillroom.report.buckets import Bucket, Point, bucketed
from stillroom.report.markup import Markup, element, join, label

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 360, 210, 44, 10, 34
_LETTER, _LINE = 6.8, 13.0  # width and height that a label's letter takes
_LONGEST = 16
_COLORS = 8
_LARGEST = 1e30  # nothing drawn is larger; keeps differences and ratios finite


@dataclass(frozen=True)
class Line:
    """A curve over trained tokens or steps. `index` chooses its color, the same for a run everywhere."""

    label: str
    index: int
    points: Sequence[Point]
    spread: Sequence[tuple[float, float, float]] = ()
    """(place, lowest, highest): a band around the line, such as that of several seeds."""

    @property
    def look(self) -> str:
        """Classes of its color and, beyond as many lines as there are colors, of its dashes."""
        dashes = self.index // _COLORS % 3
        return f"c{self.index % _COLORS}" + (f" dash{dashes}" if dashes else "")

    @property
    def name(self) -> str:
        """The label beside the line; a dash before it tells it from the other name in its color."""
        return ("", "\u254c ", "\u2508 ")[self.index // _COLORS % 3] + self.label


@dataclass(frozen=True)
class Level:
    """A value without a course, such as the teacher's loss: a dashed line across."""

    label: str
    value: float


def is_drawable(value: float) -> bool:
    return math.isfinite(value) and abs(value) < _LARGEST


def line_chart(
    title: str, lines: Sequence[Line], levels: Sequence[Level] = (), x_name: str = "", note: str = ""
) -> Markup:
    """A figure with a caption. Values that are not finite leave a gap, and the caption counts them."""
    drawable = [_drawable(line) for line in lines]
    finite = [y for line in drawable for _, y in line.points if is_drawable(y)]
    lost = sum(not is_drawable(y) for line in drawable for _, y in line.points)
    if lost:
        many = "1 value is" if lost == 1 else f"{lost:,} values are"
        note = f"{many} not finite and left out. {note}".strip()
    if not finite:
        return _figure(title, element("p", "— no finite value was recorded", class_="absent"), note)
    shown, hidden = _near(levels, finite)
    if hidden:
        note = f"{note} Off the scale: {', '.join(f'{a.label} {a.value:.4g}' for a in hidden)}.".strip()
    ends = [y for line in drawable for _, *band in line.spread for y in band]
    y_axis = fitted(finite + ends + [level.value for level in shown])
    x_axis = _course([x for line in drawable for x, _ in line.points])
    if y_axis.is_log:
        note = f"Logarithmic scale. {note}".strip()
    return _figure(title, _svg(title, drawable, shown, x_axis, y_axis, x_name), note)


def _drawable(line: Line) -> Line:
    """Without the points that have no place, and the parts of its band that are not finite."""
    points = [point for point in line.points if is_drawable(point[0])]
    return replace(line, points=points, spread=[each for each in line.spread if all(map(is_drawable, each))])


def _svg(
    title: str, lines: Sequence[Line], levels: Sequence[Level], x_axis: Axis, y_axis: Axis, x_name: str
) -> Markup:
    ends = [(a.name, a.look.split()[0], pieces[-1][-1].mean) for a in lines if (pieces := _pieces(a))]
    ends = ends if len(lines) > 1 or levels else [(tick_text(float(f"{y:.3g}")), c, y) for _, c, y in ends]
    ends += [(level.label, "level", level.value) for level in levels]
    names = [label(name, _LONGEST) for name, _, _ in ends]
    right = _WIDTH - 12 - _LETTER * max(map(len, names), default=0)
    # as tall as its names need: a dozen of them fit the usual height
    bottom = max(_HEIGHT - _BOTTOM, _TOP + 4 + _LINE * (len(names) - 1))

    def x(value: float) -> float:
        return _LEFT + x_axis(value) * (right - _LEFT)

    def y(value: float) -> float:
        return bottom - y_axis(value) * (bottom - _TOP)

    parts = [element("title", title), element("desc", _description(lines, levels, x_name))]
    parts += _grid(x_axis, y_axis, x, y, right, bottom, x_name)
    parts += [
        element(
            "line",
            class_="level",
            x1=_LEFT,
            x2=f"{right:.1f}",
            y1=f"{y(a.value):.1f}",
            y2=f"{y(a.value):.1f}",
        )
        for a in levels
    ]
    for line in reversed(lines):  # the main run comes last and lies on top
        parts.append(element("g", element("title", line.label), *_curve(line, x, y)))
    heights = _spread([y(value) for _, _, value in ends], _TOP + 4, bottom)
    for name, (_, color, _), height in zip(names, ends, heights, strict=True):
        parts.append(
            element("text", name, class_=f"end {color}", x=f"{right + 6:.1f}", y=f"{height + 4:.1f}")
        )
    return element("svg", *parts, viewBox=f"0 0 {_WIDTH} {bottom + _BOTTOM:g}", role="img", aria_label=title)


def _grid(
    x_axis: Axis,
    y_axis: Axis,
    x: Callable[[float], float],
    y: Callable[[float], float],
    right: float,
    bottom: float,
    x_name: str,
) -> list[Markup]:
    parts = []
    for value in y_axis.ticks():
        height = f"{y(value):.1f}"
        parts.append(element("line", class_="grid", x1=_LEFT, x2=f"{right:.1f}", y1=height, y2=height))
        parts.append(
            element("text", tick_text(value), class_="tick y", x=_LEFT - 6, y=f"{y(value) + 3.5:.1f}")
        )
    parts.append(element("line", class_="axis", x1=_LEFT, x2=f"{right:.1f}", y1=bottom, y2=bottom))
    for value in x_axis.ticks(max(2, int((right - _LEFT) / 60))):
        place = f"{x(value):.1f}"
        parts.append(element("line", class_="axis", x1=place, x2=place, y1=bottom, y2=bottom + 4))
        parts.append(element("text", tick_text(value), class_="tick x", x=place, y=bottom + 16))
    parts.append(element("text", x_name, class_="name", x=f"{right:.1f}", y=bottom + _BOTTOM - 4))
    return parts


def _curve(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> list[Markup]:
    color = line.look
    parts = []
    if line.spread:
        upper = [f"{x(place):.1f},{y(high):.1f}" for place, _, high in line.spread]
        lower = [f"{x(place):.1f},{y(low):.1f}" for place, low, _ in reversed(line.spread)]
        parts.append(element("polygon", class_=f"band {color}", points=" ".join(upper + lower)))
    for piece in _pieces(line):
        middle = " ".join(f"{x(b.x):.1f},{y(b.mean):.1f}" for b in piece)
        if any(b.low < b.high for b in piece):
            upper = [f"{x(b.x):.1f},{y(b.high):.1f}" for b in piece]
            lower = [f"{x(b.x):.1f},{y(b.low):.1f}" for b in reversed(piece)]
            parts.append(element("polygon", class_=f"band {color}", points=" ".join(upper + lower)))
        if len(piece) == 1:
            parts.append(
                element(
                    "circle", class_=color, cx=f"{x(piece[0].x):.1f}", cy=f"{y(piece[0].mean):.1f}", r=2.5
                )
            )
        else:
            parts.append(element("path", class_=f"curve {color}", d=f"M{middle}"))
    return parts


def _pieces(line: Line) -> list[list[Bucket]]:
    """Stretches of a line without a gap."""
    pieces: list[list[Bucket]] = [[]]
    for bucket in bucketed([(x, y if is_drawable(y) else math.nan) for x, y in line.points]):
        if math.isnan(bucket.mean):
            pieces.append([])
        else:
            pieces[-1].append(bucket)
    return [piece for piece in pieces if piece]


def _course(places: Sequence[float]) -> Axis:
    """From the start of training, where the curve begins near it, to the last point."""
    first, last = min(places), max(places)
    start = 0.0 if 0 <= first <= 0.25 * last else first
    return Axis(start, last if last > start else start + 1)


def _near(levels: Sequence[Level], values: Sequence[float]) -> tuple[list[Level], list[Level]]:
    """Levels that fit beside the curves, and those that would press these flat."""
    low, high = min(values), max(values)
    reach = (high - low) or abs(high) or 1.0
    shown = [a for a in levels if low - 1.5 * reach <= a.value <= high + 0.5 * reach]
    return shown, [a for a in levels if a not in shown]


def _spread(heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """The heights moved apart so that labels do not cover each other, kept in order and inside the plot."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    gap = min(_LINE, (bottom - top) / max(1, len(heights) - 1))
    placed = [0.0] * len(heights)
    floor = top
    for i in order:
        placed[i] = max(heights[i], floor)
        floor = placed[i] + gap
    ceiling = bottom
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def _description(lines: Sequence[Line], levels: Sequence[Level], x_name: str) -> str:
    sentences = []
    for line in lines:
        values = [(x, y) for x, y in line.points if is_drawable(y)]
        if values:
            (x0, y0), (x1, y1) = values[0], values[-1]
            lowest, highest = min(y for _, y in values), max(y for _, y in values)
            sentences.append(
                f"{line.label}: from {y0:.4g} at {tick_text(x0)} to {y1:.4g} at {tick_text(x1)} {x_name}; "
                f"lowest {lowest:.4g}, highest {highest:.4g}."
            )
    return " ".join(sentences + [f"{level.label}: {level.value:.4g}." for level in levels])


def _figure(title: str, body: Markup, note: str) -> Markup:
    caption = element("figcaption", element("b", title), join(" ", element("small", note)) if note else "")
    return element("figure", caption, body, class_="chart")
