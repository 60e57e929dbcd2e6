"""From finished run folders to the numbers of a comparison, as plain values for JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stillroom.compare.holm import holm
from stillroom.compare.schedule import RATE, Run, state
from stillroom.core.record import METRICS, RunSummary, read_jsonl, read_summary
from stillroom.diagnostics.reach import crossing
from stillroom.numerics.paired_difference import paired_difference
from stillroom.report.directions import better
from stillroom.report.numbers import finite

HELD_OUT = ("loss", "perplexity", "bits_per_byte", "teacher_kl", "calibration_error", "agreement", "rouge_l")
COSTS = ("steps", "tokens", "seconds", "tokens_per_second", "peak_memory_bytes")
TO_TARGET = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}
"""When a run came down to a target: names in the results, and in metrics.jsonl."""


def collect(runs: Sequence[Run], against: str) -> dict[str, Any]:
    """Statistics by variant, the marks of teachers and untrained students, and what a reader must be told.

    Runs that are not done, or were made with another recipe, are left out.
    """
    done = [(run, read_summary(run.folder)) for run in runs if state(run) == "done"]
    numbers = {name: [_numbers(r, s) for r, s in done if r.variant == name] for name in _names(runs)}
    variants = {name: _variant(rows, numbers.get(against, [])) for name, rows in numbers.items()}
    adjust({name: variant["difference"] for name, variant in variants.items() if name != against})
    for run in runs:
        variants[run.variant]["learning_rate"] = run.recipe.training[RATE.partition(".")[2]]
    first = next((s for r, s in done if r.variant == against), done[0][1] if done else RunSummary(""))
    return {
        "versions": first.versions,
        "hashes": {role: next(iter(_digests(model).values())) for role, model in first.models.items()},
        "data": {
            split: {**facts, "source": Path(facts["source"]).name} for split, facts in first.data.items()
        },
        "environment": {key: first.environment.get(key) for key in ("device", "threads", "precision")},
        "marks": _marks(done),
        "variants": variants,
        "cautions": _diverged(done) + _unequal_tokens(numbers) + _unlike(done),
    }


def adjust(differences: Mapping[str, Mapping[str, dict[str, Any]]]) -> None:
    """Beside every p, its value after Holm's correction: the differences of all variants in one metric are a family."""
    for metric in dict.fromkeys(key for each in differences.values() for key in each):
        family = {name: each[metric] for name, each in differences.items() if metric in each}
        known = {name: each["p"] for name, each in family.items() if each["p"] is not None}
        for name, value in holm(known).items():
            family[name]["p_holm"] = value


def _names(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(run.variant for run in runs))


def _numbers(run: Run, summary: RunSummary) -> dict[str, Any]:
    rows = read_jsonl(run.folder / METRICS)
    final = {key: value for key, value in summary.final.items() if finite(value) is not None}
    costs = {key: getattr(summary, key) for key in COSTS}
    return {"seed": run.seed, **final, **costs, "measures": _measures(rows), "curve": _curve(rows)}


def _measures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The last value of every `measure/...`, without that word."""
    last: dict[str, float] = {}
    for row in rows:
        values = {key: finite(value) for key, value in row.items() if key.startswith("measure/")}
        last |= {key.partition("/")[2]: value for key, value in values.items() if value is not None}
    return last


def _curve(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Held-out loss on the way, by step; where a step was evaluated twice, the later value stands."""
    points: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.get("split") == "eval" and (loss := finite(row.get("loss"))) is not None:
            points[row["step"]] = {**{key: row[key] for key in TO_TARGET.values()}, "loss": loss}
    return [points[step] for step in sorted(points)]


def _variant(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {key: _by_seed(rows, key) for key in (*HELD_OUT, *COSTS)}
    columns = {key: values for key, values in columns.items() if values}
    differences = {
        key: paired_difference(columns[key], _by_seed(others, key), better(key) == "lower")
        for key in columns
        if key in HELD_OUT
    }
    return {
        "mean": {key: statistics.fmean(values.values()) for key, values in columns.items()},
        "deviation": {
            key: statistics.stdev(values.values()) for key, values in columns.items() if len(values) > 1
        },
        "difference": {key: asdict(each) for key, each in differences.items() if each is not None},
        "to_target": _to_targets(rows, _by_seed(others, "loss")),
        "measures": _means([row["measures"] for row in rows]),
        "runs": rows,
    }


def _by_seed(rows: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    return {row["seed"]: row[key] for row in rows if key in row}


def _to_targets(rows: Sequence[Mapping[str, Any]], targets: Mapping[int, float]) -> list[dict[str, Any]]:
    """Where each run came down to the final loss of the other variant with the same seed; None: it never did."""
    found = []
    for row in rows:
        if row["seed"] in targets:
            target = targets[row["seed"]]
            places = {
                name: crossing([(point[key], point["loss"]) for point in row["curve"]], target)
                for name, key in TO_TARGET.items()
            }
            found.append({"seed": row["seed"], "loss": target, **places})
    return found


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: statistics.fmean(row[key] for row in rows if key in row) for key in keys}


def _marks(done: Sequence[tuple[Run, RunSummary]]) -> dict[str, dict[str, float]]:
    """Teacher and untrained student; where variants have unlike ones, each with the variant that measured it."""
    marks: dict[str, dict[str, float]] = {}
    for title, kind in (("teacher", "teacher"), ("student before training", "baseline")):
        measured = {run.variant: getattr(s, kind) for run, s in reversed(done) if getattr(s, kind)}
        for variant in reversed(measured):
            name = title if len(measured) == 1 else f"{title} ({variant})"
            marks[name] = {k: v for k, v in measured[variant].items() if finite(v) is not None}
    return marks


def _diverged(done: Sequence[tuple[Run, RunSummary]]) -> list[str]:
    lost = [run.folder.name for run, summary in done if finite(summary.final.get("loss")) is None]
    return [f"WITHOUT A FINITE HELD-OUT LOSS, and left out of its means: {', '.join(lost)}."] if lost else []


def _unequal_tokens(numbers: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Runs of one seed are compared at equal trained tokens, or a reader is told."""
    sentences = []
    for seed in dict.fromkeys(row["seed"] for rows in numbers.values() for row in rows):
        tokens = {
            name: row["tokens"] for name, rows in numbers.items() for row in rows if row["seed"] == seed
        }
        if len({*tokens.values()}) > 1:
            listed = ", ".join(f"{name} {count:,}" for name, count in tokens.items())
            sentences.append(f"NOT AT EQUAL TOKENS: with seed {seed} these were trained: {listed}.")
    return sentences


def _unlike(done: Sequence[tuple[Run, RunSummary]]) -> list[str]:
    """What one recipe does not fix and must be the same all the same: contents of files, versions, machine."""
    seen: dict[str, dict[str, str]] = {}
    for run, summary in done:
        facts = {f"version of {package}": version for package, version in summary.versions.items()}
        facts |= {key: str(summary.environment.get(key)) for key in ("device", "threads", "world_size")}
        for role, entry in (summary.models | summary.data).items():
            start = (
                f" with seed {run.seed}" if role == "student" else ""
            )  # new weights differ from seed to seed
            for kind, digest in _digests(entry).items():
                facts[f"{kind} of {Path(str(entry.get('source'))).name}{start}"] = digest[:12]
        for key, value in facts.items():
            seen.setdefault(key, {}).setdefault(value, run.folder.name)
    return [
        f"The {key} is not the same in all runs: {', '.join(f'{v} ({name})' for v, name in values.items())}."
        for key, values in seen.items()
        if len(values) > 1
    ]


def _digests(entry: Mapping[str, Any]) -> dict[str, str]:
    """Of a text or a model; a cached teacher's weights were never loaded, and only its files are known."""
    kinds = {"sha256": "content", "files_sha256": "files"}
    return {kind: str(entry[key]) for key, kind in kinds.items() if key in entry}
