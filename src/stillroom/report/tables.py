"""A table as a comparison shows it: in a box that scrolls, with a caption, and a color before the name of a variant."""

from collections.abc import Sequence

from stillroom.report.markup import Markup, element, label
from stillroom.report.numbers import with_minus
from stillroom.report.settings import scrolling, swatch


def plain_table(
    name: str, caption: str, heads: Sequence[str], rows: Sequence[Markup], look: str = "results"
) -> Markup:
    """`rows` are finished; `name` is what the box is called for those who do not see it."""
    head = element("tr", *(element("th", text, scope="col") for text in heads))
    table = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *rows), class_=look
    )
    return scrolling(name, table)


def variant_head(name: str, index: int, small: str = "") -> Markup:
    """The first cell of a variant's row, with its color; `small` stands below its name."""
    below = element("span", small, class_="unit") if small else ""
    return element("th", swatch(index), label(name, 60), below, scope="row")


def number(value: float | None) -> str:
    """Four digits, whatever its size."""
    return "—" if value is None else with_minus(f"{value:.4g}")
