"""Points in a plane as inline SVG: color says the granularity, filled or hollow the model. No axes: the directions of
PCA and t-SNE have no unit."""

from collections.abc import Callable, Mapping, Sequence

from stillroom.report.charts import is_drawable
from stillroom.report.markup import Markup, element, join, label

_SIZE, _AIR, _MOST = 360, 14, 120
_LEGEND = 18
Point = tuple[float, float]


def scatter_chart(title: str, clouds: Mapping[str, Sequence[Point]], note: str = "") -> Markup:
    """`clouds` by "side/group". At most the first 120 points of a cloud are drawn."""
    kept = {
        name: [point for point in points if all(map(is_drawable, point))][:_MOST]
        for name, points in clouds.items()
    }
    everything = [point for points in kept.values() for point in points]
    caption = element("figcaption", element("b", title), join(" ", element("small", note)) if note else "")
    if not everything:
        return element(
            "figure", caption, element("p", "— there is no finite point", class_="absent"), class_="chart"
        )
    return element("figure", caption, _svg(title, kept, everything), class_="chart")


def _svg(title: str, clouds: Mapping[str, Sequence[Point]], everything: Sequence[Point]) -> Markup:
    sides = list(dict.fromkeys(name.partition("/")[0] for name in clouds))
    groups = list(dict.fromkeys(name.partition("/")[2] for name in clouds))
    x, y = _scale([p[0] for p in everything]), _scale([p[1] for p in everything])
    parts = [element("title", title), element("desc", f"{len(everything)} points: {', '.join(clouds)}.")]
    for name, points in clouds.items():
        side, _, group = name.partition("/")
        look = _look(groups.index(group), sides.index(side))
        parts += [
            element("circle", class_=look, cx=f"{x(a):.1f}", cy=f"{_SIZE - y(b):.1f}", r=2.4)
            for a, b in points
        ]
    parts += _legend(groups, sides)
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {_SIZE} {_SIZE + _LEGEND * len(groups) + 4}",
        role="img",
        aria_label=title,
    )


def _look(color: int, side: int) -> str:
    return f"dot c{color % 8}" if side == 0 else f"dot hollow c{color % 8}"


def _scale(values: Sequence[float]) -> Callable[[float], float]:
    low, high = min(values), max(values)
    reach = (high - low) or 1.0
    return lambda value: _AIR + (value - low) / reach * (_SIZE - 2 * _AIR)


def _legend(groups: Sequence[str], sides: Sequence[str]) -> list[Markup]:
    """A line for each group, a column for each side, below the plot."""
    parts = []
    width = (_SIZE - _AIR) / len(sides)
    for row, group in enumerate(groups):
        for column, side in enumerate(sides):
            x, y = _AIR + column * width, _SIZE + _LEGEND * (row + 1) - 4
            parts.append(element("circle", class_=_look(row, column), cx=f"{x:.1f}", cy=y - 4, r=3.5))
            parts.append(element("text", label(f"{group} · {side}", 24), x=f"{x + 12:.1f}", y=y))
    return parts
