"""Tables of a comparison: what every variant reaches on a set of data, in any order without a script, and what it cost.

The orders are radio buttons of which each shows its own panel: the style sheet does it (`.orders`), no script.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report import numbers
from stillroom.report.forest import Effect, forest_plot
from stillroom.report.markup import Markup, element, join, label
from stillroom.report.numbers import finite
from stillroom.report.settings import scrolling
from stillroom.report.standings import Column, Sheet, Standing, standings
from stillroom.report.tables import variant_head
from stillroom.report.verdict import bounds, metric_name


def sheet_tables(sheet: Sheet, number: int, against: str, seeds: int) -> Markup:
    """The table and the forest plot of one set of data, a panel for each metric to order by.

    `number` tells the panels of several sheets apart; `seeds` is how many each variant should have.
    """
    orders = [column for column in sheet.columns if column.better and not column.repeats_loss]
    orders = orders or [column for column in sheet.columns if column.better]
    panels = [_panel(sheet, column, against, seeds) for column in orders]
    if not panels:
        return _table(sheet, None, against, seeds)
    if len(panels) == 1:
        return panels[0]
    parts: list[str] = [element("span", "Order by", class_="order-by")]
    for i, (column, panel) in enumerate(zip(orders, panels, strict=True)):
        name = f"order-{number}-{i}"
        checked = "checked" if i == 0 else None
        parts.append(element("input", type="radio", name=f"order-{number}", id=name, checked=checked))
        parts.append(element("label", column.title, for_=name))
        parts.append(element("div", panel, class_="panel"))
    return element("div", *parts, class_="orders")


def costs_table(content: Mapping[str, Any], order: Sequence[str]) -> Markup:
    """Mean cost of a run of each variant, and when it reached what the variant that all are paired with reached."""
    variants, against = content.get("variants") or {}, str(content.get("against") or "")
    heads = [
        ("Learning rate", ""),
        ("Trained", "tokens"),
        ("Time", "a run"),
        ("Time", f"of {label(against, 24)}"),
    ]
    heads += [("Speed", "tokens / s"), ("Memory", "peak"), ("To target", "steps"), ("To target", "time")]
    base = finite(_mean(variants.get(against) or {}).get("seconds"))
    index = {name: place for place, name in enumerate(variants)}
    rows = []
    for name in order:
        variant = variants[name]
        mean = {key: number for key, value in _mean(variant).items() if (number := finite(value)) is not None}
        rate = finite(variant.get("learning_rate"))
        targets = variant.get("to_target") or []
        cells = [
            "—" if rate is None else f"{rate:g}".replace("-", "\u2212"),
            numbers.amount(mean["tokens"]) if "tokens" in mean else "—",
            numbers.duration(mean["seconds"]) if "seconds" in mean else "—",
            numbers.percent(mean["seconds"] / base, 0) if base and "seconds" in mean else "—",
            numbers.amount(mean["tokens_per_second"]) if "tokens_per_second" in mean else "—",
            numbers.memory(mean["peak_memory_bytes"]) if mean.get("peak_memory_bytes") else "—",
            _target(targets, "steps"),
            _target(targets, "seconds"),
        ]
        rows.append(element("tr", variant_head(name, index[name]), *(element("td", cell) for cell in cells)))
    note = f"Target: the final held-out loss of {label(against, 48)} with the same seed, first reached on the way."
    head = element("tr", element("th", "Method", scope="col"), *(_head(*each) for each in heads))
    caption = element("caption", "Means over the seeds")
    table = element("table", caption, element("thead", head), element("tbody", *rows), class_="results")
    return join(scrolling("Cost", table), element("p", note, class_="legend"))


def _panel(sheet: Sheet, column: Column, against: str, seeds: int) -> Markup:
    effects = []
    for each in standings(sheet, column):
        difference = sheet.difference(column, each.name, against) if each.name != against else None
        if difference is not None:
            scale = column.factor
            others = sheet.values[against][column.key]
            effects.append(
                Effect(
                    each.name,
                    each.index,
                    difference.mean * scale,
                    None if difference.low is None else difference.low * scale,
                    None if difference.high is None else difference.high * scale,
                    [(value - others[seed]) * scale for seed, value in each.values.items() if seed in others],
                    _effect(sheet, column, each.name, against),
                )
            )
    unit = f", {column.unit}" if column.unit else ""
    what = metric_name(sheet, column)
    caption = f"{what[:1].upper()}{what[1:]}{unit}: paired differences to {label(against, 48)}"
    plot = forest_plot(caption, effects, against, column.better) if effects else ""
    return join(plot, _table(sheet, column, against, seeds))


def _table(sheet: Sheet, order: Column | None, against: str, seeds: int) -> Markup:
    """Rows stand as `order` says; every cell has mean ± deviation and, below it, the paired difference."""
    places = {column.key: {each.name: each for each in standings(sheet, column)} for column in sheet.columns}
    first = order or sheet.columns[0]
    rows = [
        element(
            "tr",
            element("th", element("span", class_=f"swatch {kind}"), label(name, 48), scope="row"),
            *(
                element("td", column.write(mark[column.key]) if column.key in mark else "—")
                for column in sheet.columns
            ),
            class_=kind,
        )
        for name, mark in sheet.marks.items()
        for kind in ["teacher" if name.startswith("teacher") else "baseline"]
    ]
    for each in standings(sheet, first):
        cells = [_cell(sheet, column, places[column.key][each.name], against) for column in sheet.columns]
        have = len(each.values)
        lacking = f"{have} of {seeds} seeds" if have < seeds else ""
        lacking = "the reference of all pairs" if each.name == against and not lacking else lacking
        rows.append(element("tr", variant_head(each.name, each.index, lacking), *cells))
    heads = (
        element(
            "th",
            column.title,
            element("span", column.unit, class_="unit"),
            scope="col",
            aria_sort=("ascending" if column.better == "lower" else "descending")
            if column is order
            else None,
        )
        for column in sheet.columns
    )
    head = element("tr", element("th", "Method", scope="col"), *heads)
    caption = element("caption", f"{sheet.title}: mean ± standard deviation over the seeds")
    table = element(
        "table", caption, element("thead", head), element("tbody", *rows), class_="results compared"
    )
    several = any(len(each.values) > 1 for each in standings(sheet, first))
    legend = f"Small: minus {label(against, 48)}, mean{' [95 % interval]' if several else ''}, "
    legend += "seeds on which it is better. "
    legend += "Underlined: the best" + (
        ", and what cannot be told apart from the best." if several else " mean."
    )
    return join(scrolling(sheet.title, table), element("p", legend, class_="legend"))


def _cell(sheet: Sheet, column: Column, each: Standing, against: str) -> Markup:
    if each.mean is None:
        return element("td", "—", class_="absent", title="no finished run with a finite value")
    text = column.write(each.mean) + (
        f" ± {column.write(each.deviation)}" if each.deviation is not None else ""
    )
    is_beside = each.name != against and column.better and not column.repeats_loss
    beside = _effect(sheet, column, each.name, against) if is_beside else ""
    small = element("span", beside or "\u00a0", class_="unit")
    rivals = sum(bool(by_key.get(column.key)) for by_key in sheet.values.values())
    p = sheet.adjusted.get(each.name, {}).get(column.key)
    corrected = "" if p is None else f"p = {p:.2g} after Holm's correction for the number of variants"
    if column.better and rivals > 1 and each.to_best in ("best", "alike"):
        why = "best mean" if each.to_best == "best" else "cannot be told apart from the best"
        title = f"{why}; {corrected}" if corrected else why
        return element("td", element("strong", text), small, class_="best", title=title)
    return element("td", text, small, title=corrected or None)


def _effect(sheet: Sheet, column: Column, name: str, against: str) -> str:
    difference = sheet.difference(column, name, against)
    if difference is None:
        return ""
    return f"{bounds(column, difference)} · {difference.wins}/{difference.n}"


def _head(title: str, unit: str) -> Markup:
    return element("th", title, element("span", unit, class_="unit"), scope="col")


def _mean(variant: Mapping[str, Any]) -> Mapping[str, Any]:
    return variant.get("mean") or {}


def _target(targets: Sequence[Mapping[str, Any]], key: str) -> str:
    """Mean over the runs that got there, and how many did where not all did."""
    got = [value for each in targets if (value := finite(each.get(key))) is not None]
    if not targets:
        return "—"
    if not got:
        return "never"
    mean = statistics.fmean(got)
    text = f"{mean:,.0f}" if key == "steps" else numbers.duration(mean)
    return text if len(got) == len(targets) else f"{text} ({len(got)}/{len(targets)})"
