"""Held-out loss over trained tokens as one page without scripts: a curve for each variant, the mean of its seeds."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from stillroom.report.charts import Level, Line, line_chart
from stillroom.report.markup import Markup, element


def chart_page(content: Mapping[str, Any]) -> str:
    """HTML with the style sheet of the reports; `content` is that of the results file."""
    lines = [
        Line(name, index, mean_curve([run["curve"] for run in variant["runs"]]))
        for index, (name, variant) in enumerate(content["variants"].items())
    ]
    levels = [Level(name, marks["loss"]) for name, marks in content["marks"].items() if "loss" in marks]
    chart = line_chart(
        "Held-out loss", lines, levels, "trained tokens", "Nats per response token, mean of the seeds."
    )
    style = Markup((files("stillroom") / "report" / "style.css").read_text(encoding="utf-8"))
    head = element(
        "head", element("meta", charset="utf-8"), element("title", content["name"]), element("style", style)
    )
    body = element(
        "body", element("main", element("h1", content["name"]), element("p", content["about"]), chart)
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def mean_curve(curves: Sequence[Sequence[Mapping[str, float]]]) -> list[tuple[float, float]]:
    """(tokens, loss), each the mean over the seeds, at the steps where all of them were evaluated."""
    by_step = [{point["step"]: point for point in curve} for curve in curves]
    common = sorted(step for step in (by_step or [{}])[0] if all(step in each for each in by_step))
    return [
        (
            sum(each[step]["tokens"] for each in by_step) / len(by_step),
            sum(each[step]["loss"] for each in by_step) / len(by_step),
        )
        for step in common
    ]
