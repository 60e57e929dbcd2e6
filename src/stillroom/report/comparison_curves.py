"""Held-out loss on the way, over tokens and time: the mean of the seeds, and a band from the lowest to the highest."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report.charts import Level, Line, line_chart
from stillroom.report.markup import Markup, element
from stillroom.report.numbers import finite

_NOTE = "Nats per response token; mean of the seeds, band from the lowest to the highest."


def comparison_curves(content: Mapping[str, Any]) -> Markup:
    variants = content.get("variants") or {}
    charts = []
    for key, x_name, title in (
        ("tokens", "trained tokens", "Held-out loss over trained tokens"),
        ("seconds", "seconds", "The same over time"),
    ):
        lines = [
            _line(name, index, [run.get("curve") or [] for run in variant.get("runs") or []], key)
            for index, (name, variant) in enumerate(variants.items())
        ]
        lines = [line for line in lines if line.points]
        if any(len(line.points) > 1 for line in lines):
            charts.append(line_chart(title, lines, _levels(content), x_name, _NOTE))
    if not charts:
        return element(
            "p", "— the runs were evaluated at their end only, so there is no curve.", class_="absent"
        )
    return element("div", *charts, class_="charts two")


def mean_curve(
    curves: Sequence[Sequence[Mapping[str, float]]], key: str
) -> list[tuple[float, float, float, float]]:
    """(place, mean, lowest, highest) at the steps where every seed was evaluated; the place is a mean as well."""
    by_step = [
        {point["step"]: point for point in curve if {"step", "loss", key} <= point.keys()}
        for curve in curves
        if curve
    ]
    common = sorted(step for step in (by_step or [{}])[0] if all(step in each for each in by_step))
    found = []
    for step in common:
        losses = [each[step]["loss"] for each in by_step]
        place = statistics.fmean(each[step][key] for each in by_step)
        found.append((place, statistics.fmean(losses), min(losses), max(losses)))
    return found


def _line(name: str, index: int, curves: Sequence[Sequence[Mapping[str, float]]], key: str) -> Line:
    points = mean_curve(curves, key)
    band = [(x, low, high) for x, _, low, high in points] if sum(map(bool, curves)) > 1 else []
    return Line(name, index, [(x, mean) for x, mean, _, _ in points], band)


def _levels(content: Mapping[str, Any]) -> list[Level]:
    marks = content.get("marks") or {}
    values = {name: finite(mark.get("loss")) for name, mark in marks.items()}
    return [
        Level("untrained" if name == "student before training" else name, value)
        for name, value in values.items()
        if value is not None
    ]
