"""What the exams of all runs come to: means, spreads and paired differences, exam by exam and metric by metric."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stillroom.compare.collect import adjust
from stillroom.compare.exams import Sitting
from stillroom.numerics.paired_difference import paired_difference
from stillroom.report.directions import better


def add_exams(found: dict[str, Any], wanted: Sequence[Sitting], against: str, notes: Sequence[str]) -> None:
    """Into what `collect` found: `tests` of every run and variant, and of teacher and untrained student."""
    sat = {(each.owner, each.seed): each.exams() for each in wanted if each.done()}
    marks = {owner: exams for (owner, seed), exams in sat.items() if seed is None}
    protocol = next((each.protocol() for each in wanted if each.done()), {})
    said = [*_not_measured(wanted), *(note for each in wanted if each.done() for note in each.notes())]
    found["tests"] = {"protocol": protocol, "marks": marks, "notes": list(dict.fromkeys([*notes, *said]))}
    for name, variant in found["variants"].items():
        for run in variant["runs"]:
            run["tests"] = sat.get((name, run["seed"]), {})
    others = found["variants"].get(against, {"runs": []})["runs"]
    for variant in found["variants"].values():
        variant["tests"] = _statistics(variant["runs"], others)
    _adjust({name: each["tests"] for name, each in found["variants"].items() if name != against})


def _not_measured(wanted: Sequence[Sitting]) -> list[str]:
    """A name under `metrics` that is in no student's results is a wrong one, and an empty table says so to nobody."""
    names = [set(each.unknown()) for each in wanted if each.seed is not None and each.done()]
    missing = sorted(set.intersection(*names)) if names else []
    return [f"NOT MEASURED by any exam, whatever test.metrics says: {', '.join(missing)}."] if missing else []


def _statistics(runs: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By exam and metric: `mean`, `deviation` (of two runs and more) and `difference` (where seeds are shared
    and one direction is the better one)."""
    found: dict[str, dict[str, Any]] = {}
    for exam, metric in dict.fromkeys(place for run in runs for place in _places(run)):
        values = _by_seed(runs, exam, metric)
        entry: dict[str, Any] = {"mean": statistics.fmean(values.values())}
        if len(values) > 1:
            entry["deviation"] = statistics.stdev(values.values())
        if way := better(metric):
            difference = paired_difference(values, _by_seed(others, exam, metric), way == "lower")
            entry |= {} if difference is None else {"difference": asdict(difference)}
        found.setdefault(exam, {})[metric] = entry
    return found


def _places(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for exam, metrics in run["tests"].items():
        for metric in metrics:
            yield exam, metric


def _by_seed(runs: Sequence[Mapping[str, Any]], exam: str, metric: str) -> dict[int, float]:
    return {r["seed"]: r["tests"][exam][metric] for r in runs if metric in r["tests"].get(exam, {})}


def _adjust(tests: Mapping[str, Mapping[str, Any]]) -> None:
    for exam in dict.fromkeys(exam for each in tests.values() for exam in each):
        metrics = {name: each[exam] for name, each in tests.items() if exam in each}
        adjust(
            {
                name: {key: entry["difference"] for key, entry in each.items() if "difference" in entry}
                for name, each in metrics.items()
            }
        )
