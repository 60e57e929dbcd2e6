"""An attention map as inline SVG: a square a pair of tokens, as dark as the attention; the tokens on its diagonal.

A causal map is empty above its diagonal, so there is room for the token that is both that row and that column. What
lies before the first shown token is one column at the left edge. Pointing at a row names what it looks at most.
"""

from collections.abc import Sequence
from itertools import groupby

from stillroom.report.markup import Markup, element, join, label

_CELL, _EDGE, _ROOM, _LETTERS = 10, 14, 52, 9
_SHADES = 8
_NAMED = 3


def head_map(title: str, note: str, tokens: Sequence[str], rows: Sequence[str], has_before: bool) -> Markup:
    """A figure. `rows` are those of `core.inspection.HeadPicture`; with `has_before` their first number is drawn."""
    shares = [[int(number) / 1000 for number in row.split()] for row in rows]
    left = _EDGE if has_before else 0
    size = _CELL * len(tokens)
    parts = [element("title", title), *_squares(shares, left, has_before), *_names(tokens, left)]
    parts += _sentences(tokens, shares, left + size, has_before)
    svg = element(
        "svg", *parts, viewBox=f"0 0 {left + size + _ROOM} {size + 2}", role="img", aria_label=title
    )
    caption = element("figcaption", element("b", title), join(" ", element("small", note)) if note else "")
    return element("figure", caption, svg, class_="chart map")


def shade(share: float) -> int:
    """0 (not drawn) to 8: by the root of the attention, so that a twentieth can be seen beside a whole."""
    return round(_SHADES * min(1.0, max(0.0, share)) ** 0.5)


def _squares(shares: Sequence[Sequence[float]], left: int, has_before: bool) -> list[Markup]:
    """One path for each shade: stretches of equal squares."""
    paths: dict[int, list[str]] = {}
    for number, (before, *row) in enumerate(shares):
        height = _CELL * number + _CELL // 2
        if has_before:
            paths.setdefault(shade(before), []).append(f"M0 {height}h{_CELL}")
        column = left
        for level, same in groupby(map(shade, row)):
            width = _CELL * len(list(same))
            paths.setdefault(level, []).append(f"M{column} {height}h{width}")
            column += width
    return [
        element("path", class_=f"shade{level}", d="".join(path))
        for level, path in sorted(paths.items())
        if level
    ]


def _names(tokens: Sequence[str], left: int) -> list[Markup]:
    return [
        element("text", label(token, _LETTERS), x=left + _CELL * (at + 1) + 3, y=_CELL * (at + 1) - 1.5)
        for at, token in enumerate(tokens)
    ]


def _sentences(
    tokens: Sequence[str], shares: Sequence[Sequence[float]], right: int, has_before: bool
) -> list[Markup]:
    """What is read when a row is pointed at."""
    found = []
    names = ["earlier tokens", *tokens]
    for number, row in enumerate(shares):
        most = sorted(enumerate(row), key=lambda each: -each[1])[:_NAMED]
        seen = ", ".join(f"{label(names[at], 20)} {share:.2f}" for at, share in most if share > 0)
        path = element("path", class_="row", d=f"M0 {_CELL * number + _CELL // 2}h{right}")
        found.append(element("g", element("title", f"{label(tokens[number], 20)} \u2192 {seen}"), path))
    return found
