"""A comparison as one self-contained HTML page: which method, with how much confidence, at what cost; no script.

Everything is computed from what the results file holds; what it lacks is left out or named.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report.comparison_answers import answers
from stillroom.report.comparison_curves import comparison_curves
from stillroom.report.comparison_facts import measures_table, reproduce
from stillroom.report.comparison_published import published_table
from stillroom.report.comparison_tables import costs_table, sheet_tables
from stillroom.report.comparison_trials import trials_table
from stillroom.report.document import document, section
from stillroom.report.markup import Markup, element, join, label, shorten
from stillroom.report.measured import overview, sheets
from stillroom.report.numbers import finite
from stillroom.report.standings import Sheet, standings
from stillroom.report.tradeoff import Spot, tradeoff_chart
from stillroom.report.verdict import main_sheet, metric_name, seeds_note, verdict


def comparison_page(content: Mapping[str, Any]) -> str:
    """The whole document; `content` is that of a comparison's JSON file, of which any key may be missing."""
    found = sheets(content)
    title = label(str(content.get("name") or "Comparison"), 120)
    ran = any(sheet.columns for sheet in found)
    parts = [
        ("Results", _results(content, found)),
        ("Cost", _costs(content, found) if ran else None),
        ("Curves", comparison_curves(content) if ran else None),
        ("Answers", answers(content)),
        ("Learning rates", trials_table(content)),
        ("What objectives measured", measures_table(content)),
        ("Published figures", published_table(content)),
        ("How to repeat it", reproduce(content)),
    ]
    sections = [section(name, part) for name, part in parts if part is not None]
    return document(title, element("main", _top(content, found, title), *sections))


def _top(content: Mapping[str, Any], found: Sequence[Sheet], title: str) -> Markup:
    """The answer, and before any table what to know before believing it."""
    first, *rest = verdict(content, found)
    warnings = [str(each) for each in content.get("cautions") or []]
    warnings += [f"FAILED: {name}: {reason}" for name, reason in (content.get("failed") or {}).items()]
    warnings += [str(each) for each in (content.get("tests") or {}).get("notes") or []]
    about = " ".join(str(content.get("about") or "").split())
    return element(
        "header",
        element("p", "Stillroom comparison", class_="eyebrow"),
        element("h1", title),
        element("p", element("strong", first), " ", " ".join(rest), class_="lead"),
        element("p", shorten(about, 2000), class_="about") if about else "",
        _cautions(warnings),
        element("p", _scope(content, found), class_="aside"),
    )


def _cautions(sentences: Sequence[str]) -> Markup:
    if not sentences:
        return Markup()
    items = (element("li", shorten(sentence, 1000)) for sentence in sentences)
    return element(
        "div", element("h2", "Before you believe it"), element("ul", *items), class_="cautions", role="note"
    )


def _scope(content: Mapping[str, Any], found: Sequence[Sheet]) -> str:
    variants = len(content.get("variants") or {})
    seeds = content.get("seeds") or []
    many = f"{variants} variants" if variants != 1 else "1 variant"
    listed = f", seed{'s' if len(seeds) != 1 else ''} {', '.join(map(str, seeds))}" if seeds else ""
    return f"{many}{listed}. {seeds_note(found)}".strip()


def _results(content: Mapping[str, Any], found: Sequence[Sheet]) -> Markup:
    """The set of the first sentence stands open, and all exams in one table; the others are folded."""
    against, seeds = str(content.get("against") or ""), len(content.get("seeds") or [])
    main, several = main_sheet(found), overview(found)
    if main is None:
        return element("p", "— no run has a finite result.", class_="absent")
    parts = [sheet_tables(main, 0, against, seeds)]
    if several is not None:
        parts += [element("h3", "All test sets in one table"), sheet_tables(several, 1, against, seeds)]
    for number, sheet in enumerate(found, start=2):
        if sheet is not main and sheet.columns:
            name = element("summary", sheet.title)
            parts.append(element("details", name, sheet_tables(sheet, number, against, seeds)))
    return join(*parts)


def _timing(content: Mapping[str, Any]) -> str:
    jobs = finite(content.get("jobs")) or 1
    shared = f", which {jobs:.0f} runs shared at a time" if jobs > 1 else ""
    return f"Time and speed are those of this machine{shared}."


def _costs(content: Mapping[str, Any], found: Sequence[Sheet]) -> Markup:
    """The table in the order of the results, and the result against time and memory."""
    main = main_sheet(found)
    column = main.main if main else None
    variants = content.get("variants") or {}
    if main is None or column is None:
        return costs_table(content, list(variants))
    ranked = standings(main, column)
    charts = []
    for key, title, x_name, scale in (
        ("seconds", "What time buys", "seconds a run", 1.0),
        ("peak_memory_bytes", "What memory buys", "GiB at the peak", 2.0**-30),
    ):
        spots = [
            Spot(each.name, each.index, cost * scale, each.mean * column.factor)
            for each in ranked
            if each.mean is not None and (cost := finite((variants[each.name].get("mean") or {}).get(key)))
        ]
        if len(spots) > 1:
            what = metric_name(main, column)
            y_name = what[:1].upper() + what[1:]
            charts.append(tradeoff_chart(title, spots, x_name, y_name, column.better == "lower"))
    note = f"Dashed: through the variants that no other one beats in both. {_timing(content)}"
    if len(ranked) > 6:
        note += " A point without room for its name has the color of its row, and says its name under the pointer."
    below = element("p", note, class_="aside") if charts else ""
    table = costs_table(content, [each.name for each in ranked])
    return join(table, element("div", *charts, class_="charts two"), below)
