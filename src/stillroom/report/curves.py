"""Which curves a report shows: every number of metrics.jsonl over trained tokens, a small chart for each."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from stillroom.report.buckets import Point
from stillroom.report.charts import Level, Line, line_chart
from stillroom.report.markup import Markup, element, join, shorten
from stillroom.report.numbers import finite
from stillroom.report.read import Run

_NO_CURVE = frozenset({"step", "tokens", "seconds", "split", "epoch"})
_MOST = 48
_MOST_LAYERS = 8
_TITLES = {
    "loss": "Loss",
    "perplexity": "Perplexity",
    "bits_per_byte": "Bits per byte",
    "agreement": "Agreement with the teacher",
    "teacher_kl": "KL to the teacher",
    "rouge_l": "Rouge-L",
    "learning_rate": "Learning rate",
    "grad_norm": "Gradient norm",
}
_UNITS = {
    "loss": "nats per token",
    "teacher_kl": "nats per token",
    "agreement": "0 to 1",
    "rouge_l": "0 to 100",
}
_LEVELS: tuple[tuple[str, Literal["teacher", "baseline"]], ...] = (
    ("teacher", "teacher"),
    ("untrained", "baseline"),
)


def curves(runs: Sequence[Run]) -> Markup:
    """All charts in groups; a sentence instead where no run has a curve."""
    x_key = _common_x(runs)
    x_name = "trained tokens" if x_key == "tokens" else "steps"
    groups: dict[str, list[Markup]] = {}
    names = [(split, name) for split in ("eval", "train") for name in _names(runs, split)]
    layered = _layered([name for _, name in names])
    names = [(split, name) for split, name in names if name not in chain(*layered.values())]
    for split, name in names[:_MOST]:
        lines = [
            Line(run.label, index, points)
            for index, run in enumerate(runs)
            if (points := series(run, split, name, x_key))
        ]
        levels = _levels(runs, name) if split == "eval" else []
        chart = line_chart(_title(name), lines, levels, x_name, _UNITS.get(name, ""))
        groups.setdefault(_group(split, name), []).append(chart)
    if layered:
        groups.setdefault(_GROUPS[3], []).extend(_layer_charts(runs, layered, x_key, x_name))
    if not groups:
        return element("p", "— no run has recorded a curve.", class_="absent")
    parts = [
        join(element("h3", title), element("div", *charts, class_="charts"))
        for title, charts in groups.items()
    ]
    if len(names) > _MOST:
        left_out = f"{len(names) - _MOST} further curves are left out; metrics.jsonl has them all."
        parts.append(element("p", left_out, class_="absent"))
    return join(*parts)


def _layered(names: Sequence[str]) -> dict[str, list[str]]:
    """Measures that objectives take in several layers, `measure/.../alpha/3`: names by what is measured."""
    found: dict[str, list[str]] = {}
    for name in names:
        what, _, layer = name.rpartition("/")
        if what.startswith("measure/") and layer.isdecimal():
            found.setdefault(what, []).append(name)
    return {what: sorted(each, key=_layer) for what, each in found.items() if len(each) > 1}


def _layer_charts(
    runs: Sequence[Run], layered: Mapping[str, list[str]], x_key: str, x_name: str
) -> list[Markup]:
    """A chart for each such measure and run, a line for each layer: more than eight of them are thinned out evenly."""
    charts = []
    for what, names in layered.items():
        stride = -(-len(names) // _MOST_LAYERS)
        shown = names[::-1][::stride][::-1]
        note = f"{len(shown)} of {len(names)} layers." if stride > 1 else ""
        for run in runs:
            courses = {name: series(run, "train", name, x_key) for name in shown}
            lines = [
                Line(f"layer {_layer(name)}", index, points)
                for index, (name, points) in enumerate(courses.items())
                if points
            ]
            whose = f"{run.label}." if len(runs) > 1 else ""
            if lines:
                charts.append(line_chart(_title(what), lines, (), x_name, f"{whose} {note}".strip()))
    return charts


def _layer(name: str) -> int:
    return int(name.rpartition("/")[2])


def series(run: Run, split: str, name: str, x_key: str) -> list[Point]:
    """The course of one metric, sorted. Where a resumed run passed a place twice, the later value stands."""
    points: dict[float, float] = {}
    for row in run.metrics:
        place = finite(row.get(x_key))
        if row.get("split") == split and place is not None and _is_number(row.get(name)):
            value = finite(row[name])
            points[place] = float("nan") if value is None else value
    return sorted(points.items())


def _common_x(runs: Sequence[Run]) -> Literal["tokens", "step"]:
    """Tokens make runs comparable; steps where a run did not count tokens."""
    counted = all(finite(row.get("tokens")) is not None for run in runs for row in run.metrics)
    return "tokens" if counted else "step"


def _names(runs: Sequence[Run], split: str) -> list[str]:
    """Metric names of a split: by group, then the total before its terms."""
    rows = (row for run in runs for row in run.metrics if row.get("split") == split)
    found = {
        name for row in rows for name, value in row.items() if name not in _NO_CURVE and _is_number(value)
    }
    if "loss" in found:
        found.discard("perplexity")  # the same curve on another scale
    rank = {title: place for place, title in enumerate(_GROUPS)}
    known = {name: place for place, name in enumerate(_TITLES)}
    return sorted(found, key=lambda name: (rank[_group(split, name)], known.get(name, len(known)), name))


_GROUPS = ("Held-out set", "Training loss", "Optimization", "Parts of the objectives", "More from training")


def _group(split: str, name: str) -> str:
    if split == "eval":
        return _GROUPS[0]
    first = name.split("/")[0]
    return {
        "loss": _GROUPS[1],
        "grad_norm": _GROUPS[2],
        "learning_rate": _GROUPS[2],
        "measure": _GROUPS[3],
    }.get(first, _GROUPS[4])


def _title(name: str) -> str:
    if name in _TITLES:
        return _TITLES[name]
    first, _, rest = name.partition("/")
    named = (
        {"loss": rest, "grad_norm": f"Gradient norm/{rest}", "measure": rest}.get(first, name)
        if rest
        else name
    )
    return shorten(named, 80).replace("/", " · ")


def _levels(runs: Sequence[Run], name: str) -> list[Level]:
    """Teacher and untrained student, from the first run that measured them."""
    levels = []
    for title, kind in _LEVELS:
        measured = (finite(getattr(run.summary, kind).get(name)) for run in runs)
        value = next((v for v in measured if v is not None), None)
        if value is not None and not (kind == "teacher" and name in ("agreement", "teacher_kl")):
            levels.append(Level(title, value))
    return levels


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
