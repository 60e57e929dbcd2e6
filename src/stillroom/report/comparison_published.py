"""Published figures beside ours, whether the effects point the same way, and what forbids to compare the numbers.

    published: {variant: {column: number}}
    reproduction: {source, columns: {column: {better, ours, paper}}, scale, cannot_compare: [...]}

`ours` (at scale paper: `paper`) names a metric: that of the held-out set, or [tests, exam, metric]. Without it, equal
names are the same metric. The second mapping may also hold the first one as its `rows`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report.markup import Markup, element, join, label, shorten
from stillroom.report.numbers import finite
from stillroom.report.standings import Column, Sheet, covers_zero, standings
from stillroom.report.tables import number, plain_table
from stillroom.report.verdict import metric_name

_CANNOT = (
    "Published figures come from other models, data, hardware and ways of decoding: compare the order of the methods "
    "and the direction of an effect, never one number with the other."
)


def published_table(content: Mapping[str, Any], found: Sequence[Sheet]) -> Markup | None:
    """Figures of a paper, and below each ours where a variant and a metric are known here; None without any."""
    published = content.get("published") or {}
    about = published if "rows" in published else content.get("reproduction") or {}
    rows_of = published.get("rows", published) or {}
    rows_of = {str(name): row for name, row in rows_of.items() if isinstance(row, Mapping)}
    names = list(dict.fromkeys(str(key) for row in rows_of.values() for key in row))
    if not names:
        return None
    settings = {name: (about.get("columns") or {}).get(name) or {} for name in names}
    if about.get("scale") == "paper":
        settings = {
            name: {**each, "ours": each.get("paper") or each.get("ours")} for name, each in settings.items()
        }
    metrics = {name: _metric(name, settings[name], found) for name in names}
    against = str(content.get("against") or "")
    rows = []
    for variant, row in rows_of.items():
        cells = []
        for name in names:
            value, base = finite(row.get(name)), finite(rows_of.get(against, {}).get(name))
            effect = value - base if value is not None and base is not None else None
            ours = _ours(metrics[name], variant, against, effect, settings[name].get("better"))
            ours += _other_name(metrics[name], name) if ours else ""
            text = number(value) if value is not None else str(row.get(name) or "—")
            cells.append(element("td", shorten(text, 60), element("span", ours, class_="unit")))
        rows.append(element("tr", element("th", label(variant, 60), scope="row"), *cells))
    heads = ["", *(label(name, 40) for name in names)]
    table = plain_table("Published", str(about.get("source") or "As published"), heads, rows)
    items = [element("li", shorten(str(reason), 1000)) for reason in about.get("cannot_compare") or []]
    notes = element("ul", *items, class_="notes") if items else ""
    return join(table, element("p", _CANNOT, class_="legend"), notes)


def _metric(name: str, setting: Mapping[str, Any], found: Sequence[Sheet]) -> tuple[Sheet, Column] | None:
    """What a published column is called here; exams go before their metrics: "dolly Rouge-L"."""
    wanted = setting.get("ours") or name
    parts = wanted if isinstance(wanted, list) else [wanted]
    wanted = _plain("".join(str(part) for part in parts if part != "tests"))
    for sheet in found:
        before = "" if sheet is found[0] else sheet.title
        for column in sheet.columns:
            if wanted in (_plain(before + column.key), _plain(before + column.title)):
                return sheet, column
    return None


def _ours(
    metric: tuple[Sheet, Column] | None,
    variant: str,
    against: str,
    effect: float | None,
    better: Any,
) -> str:
    """Our mean, and whether our difference to the paired variant has the sign of the published one."""
    if metric is None:
        return ""
    sheet, column = metric
    name = next((each for each in sheet.values if _plain(each) == _plain(variant)), "")
    mean = next((each.mean for each in standings(sheet, column) if each.name == name), None)
    if mean is None:
        return ""
    text = f"ours {column.write(mean)}"
    difference = sheet.difference(column, name, against) if name != against else None
    if difference is None or not effect:
        return text
    if covers_zero(difference) is not False:
        return f"{text}, direction open"
    turned = column.better and better in ("lower", "higher") and better != column.better
    same = (difference.mean > 0) == (effect > 0)
    return f"{text}, {'same' if same != bool(turned) else 'opposite'} direction"


def _other_name(metric: tuple[Sheet, Column] | None, published: str) -> str:
    """What ours is, where the published column does not say it."""
    if metric is None or _plain(metric[1].title) in _plain(published):
        return ""
    return f" ({metric_name(*metric)})"


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
