"""Published figures, ours below where something of ours may stand beside them, and what forbids to compare the numbers.

    published:    {variant: {column: number}}, or {source, rows: {variant: {column: number}}}
    reproduction: {source, cannot_compare, pairs: [{column, variant, ours_is, mean, same_direction}]}

Which of our numbers belongs to a column, and whether both effects point the same way, is what a reproduction has found
out (`pairs`); nothing is guessed from names here.
"""

from collections.abc import Mapping
from typing import Any

from stillroom.report.markup import Markup, element, join, label, shorten
from stillroom.report.numbers import finite
from stillroom.report.tables import number, plain_table

_CANNOT = (
    "Published figures come from other models, data, hardware and ways of decoding: compare the order of the methods "
    "and the direction of an effect, never one number with the other."
)
_DIRECTIONS = {"yes": "same direction", "no": "opposite direction"}


def published_table(content: Mapping[str, Any]) -> Markup | None:
    """None without any figure."""
    published, found = content.get("published") or {}, content.get("reproduction") or {}
    rows_of = published.get("rows", published) or {}
    rows_of = {str(name): row for name, row in rows_of.items() if isinstance(row, Mapping)}
    names = list(dict.fromkeys(str(key) for row in rows_of.values() for key in row))
    if not names:
        return None
    ours = {(pair["variant"], pair["column"]): _ours(pair) for pair in found.get("pairs") or []}
    rows = [
        element(
            "tr",
            element("th", label(variant, 60), scope="row"),
            *(_cell(row.get(name), ours.get((variant, name), "")) for name in names),
        )
        for variant, row in rows_of.items()
    ]
    source, reasons = (found.get(key) or published.get(key) for key in ("source", "cannot_compare"))
    heads = ["", *(label(name, 40) for name in names)]
    table = plain_table("Published", str(source or "As published"), heads, rows)
    items = [element("li", shorten(str(reason), 1000)) for reason in reasons or []]
    notes = element("ul", *items, class_="notes") if items else ""
    return join(table, element("p", _CANNOT, class_="legend"), notes)


def _cell(printed: Any, ours: str) -> Markup:
    value = finite(printed)
    text = str(printed or "—") if value is None else number(value)
    return element("td", shorten(text, 60), element("span", ours, class_="unit"))


def _ours(pair: Mapping[str, Any]) -> str:
    """Our mean, what it is of, and whether our difference has the sign of the published one."""
    mean, verdict = finite(pair.get("mean")), str(pair.get("same_direction") or "")
    if mean is None:
        return ""
    direction = _DIRECTIONS.get(verdict, "direction open" if verdict.startswith("cannot tell") else "")
    return ", ".join(part for part in (f"ours {number(mean)} ({pair.get('ours_is')})", direction) if part)
