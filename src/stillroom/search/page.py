"""A search as one HTML page without scripts: how the best value fell, and every setting against the value."""

from collections.abc import Mapping
from typing import Any

from stillroom.report.charts import Line, line_chart
from stillroom.report.document import document, section
from stillroom.report.markup import Markup, element, join
from stillroom.search.slice_chart import slice_chart
from stillroom.search.table import short

_MOST = 200  # rows of trials; the rest stands in search.md


def search_page(content: Mapping[str, Any]) -> str:
    """HTML; `content` is what search.json holds."""
    title = f"Search of {', '.join(content['space'])}"
    parts = [
        element("p", "Search", class_="eyebrow"),
        element("h1", title),
        element("p", _lead(content), class_="lead"),
        element("ul", *(element("li", each) for each in content["cautions"]), class_="notes"),
    ]
    if content["best"]:
        how = element("p", element("code", f"stillroom distill best.yaml   or   {content['words']}"))
        parts += [how, section("What was found", element("div", *_charts(content), class_="charts"))]
    parts.append(section("Trials", _trials(content)))
    return document(title, element("main", *parts))


def _lead(content: Mapping[str, Any]) -> str:
    best = content["best"]
    if best is None:
        return "No trial came to a value."
    values = ", ".join(f"{key} {short(value)}" for key, value in best["values"].items())
    return f"Best of {len(content['trials'])} trials: {values}, with a {content['metric']} of {best['value']:.4f}."


def _charts(content: Mapping[str, Any]) -> list[Markup]:
    good = [trial for trial in content["trials"] if trial["value"] is not None]
    pick = max if content["better"] == "higher" else min
    so_far = [(trial["number"] + 1, pick(t["value"] for t in good[: i + 1])) for i, trial in enumerate(good)]
    every = [(trial["number"] + 1, trial["value"]) for trial in good]
    lines = [Line("best so far", 0, so_far), Line("each trial", 7, every)]
    charts = [line_chart(f"{content['metric']} by trial", lines, (), "trial")]
    for key, searched in content["space"].items():
        points = [(trial["values"][key], trial["value"]) for trial in good]
        share = content["importance"].get(key)
        note = f"Share in what separates good trials: {share:.0%}." if share is not None else ""
        charts.append(slice_chart(key, points, content["metric"], bool(searched.get("log")), note))
    return charts


def _trials(content: Mapping[str, Any]) -> Markup:
    keys = list(content["space"])
    head = element("tr", *(element("th", each) for each in ("trial", content["metric"], *keys, "")))
    rows = []
    for trial in content["trials"][:_MOST]:
        value = "failed" if trial["value"] is None else f"{trial['value']:.4f}"
        cells = [str(trial["number"]), value, *(short(trial["values"].get(key)) for key in keys)]
        rows.append(element("tr", *(element("td", each) for each in (*cells, trial.get("reason", "")))))
    table = element("table", element("thead", head), element("tbody", *rows))
    return element("div", join(table), class_="wide", tabindex="0")
