"""What the file of a comparison holds, set by set: the held-out set, every exam, and all exams in one sheet."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stillroom.report.directions import TO_TEACHER, better, is_detail
from stillroom.report.numbers import finite
from stillroom.report.standings import HELD_OUT, OVERVIEW, Column, Sheet, Values

_COLUMNS = (
    Column("loss", "Loss", "nats / token", "lower"),
    Column("bits_per_byte", "Bits", "per byte", "lower"),
    Column("rouge_l", "Rouge-L", "0 to 100", "higher", decimals=2),
    Column("teacher_kl", "KL to teacher", "nats / token", "lower"),
    Column("agreement", "Agreement", "% with teacher", "higher", 100.0, 2),
    Column("calibration_error", "Calibration error", "%", "lower", 100.0, 2),
    Column("perplexity", "Perplexity", "", "lower", decimals=2),
)
_MEAN = "/mean"


def sheets(content: Mapping[str, Any]) -> list[Sheet]:
    """The held-out set first, even where it is empty, then the exams of the runs that have any number."""
    variants = content.get("variants") or {}
    rows = {name: variant.get("runs") or [] for name, variant in variants.items()}
    exams = dict.fromkeys(exam for runs in rows.values() for run in runs for exam in run.get("tests") or {})
    marks = (content.get("tests") or {}).get("marks") or {}
    found = [_sheet(HELD_OUT, rows, content.get("marks") or {}, known_only=True)]
    found[0] = replace(
        found[0], adjusted={name: _adjusted(each.get("difference")) for name, each in variants.items()}
    )
    for exam in exams:
        sat = {
            name: [{"seed": run.get("seed"), **((run.get("tests") or {}).get(exam) or {})} for run in runs]
            for name, runs in rows.items()
        }
        sheet = _sheet(exam, sat, {name: mark.get(exam) or {} for name, mark in marks.items()})
        measured = {name: (each.get("tests") or {}).get(exam) or {} for name, each in variants.items()}
        adjusted = {
            name: _adjusted({key: entry.get("difference") for key, entry in each.items()})
            for name, each in measured.items()
        }
        found.append(replace(sheet, adjusted=adjusted))
    return [*found[:1], *(sheet for sheet in found[1:] if sheet.columns)]


def overview(found: Sequence[Sheet]) -> Sheet | None:
    """One metric of every exam, and the mean of all where it is the same metric everywhere; None below two exams."""
    picked = [(sheet, column) for sheet in found[1:] if (column := _headline_metric(sheet)) is not None]
    if len(picked) < 2:
        return None
    columns = [
        replace(column, key=sheet.title, title=f"{column.title} on {sheet.title}") for sheet, column in picked
    ]
    values = {
        name: {sheet.title: sheet.values[name].get(column.key, {}) for sheet, column in picked}
        for name in found[0].values
    }
    marks: dict[str, dict[str, float]] = {}
    for sheet, column in picked:
        for name, mark in sheet.marks.items():
            if column.key in mark:
                marks.setdefault(name, {})[sheet.title] = mark[column.key]
    if len({column.key for _, column in picked}) == 1:
        first = picked[0][1]
        columns.insert(0, replace(first, key=_MEAN, title=f"{first.title}, mean of {len(picked)} sets"))
        values = {
            name: {**by_exam, _MEAN: _mean_by_seed([*by_exam.values()])} for name, by_exam in values.items()
        }
        marks = {
            name: mark | ({_MEAN: statistics.fmean(mark.values())} if len(mark) == len(picked) else {})
            for name, mark in marks.items()
        }
    return Sheet(OVERVIEW, columns, values, marks)


def _headline_metric(sheet: Sheet) -> Column | None:
    """Rouge-L, which papers report, before what comes first."""
    return next((column for column in sheet.columns if _plain(column.key) == "rouge_l"), sheet.main)


def _mean_by_seed(exams: Sequence[Values]) -> Values:
    """Over the seeds that sat every exam."""
    common = [seed for seed in exams[0] if all(seed in each for each in exams)]
    return {seed: statistics.fmean(each[seed] for each in exams) for seed in common}


def _sheet(
    title: str,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    marks: Mapping[str, Mapping[str, Any]],
    known_only: bool = False,
) -> Sheet:
    known = {column.key: column for column in _COLUMNS}
    keys = {
        key for runs in rows.values() for run in runs for key in run if key != "seed" and not is_detail(key)
    }
    if known_only:  # beside its marks, a run holds its costs
        keys &= known.keys()
    values = {name: {key: _by_seed(runs, key) for key in keys} for name, runs in rows.items()}
    kept = [key for key in keys if any(by_key[key] for by_key in values.values())]
    columns = [known.get(key) or _other(key, known.get(_plain(key))) for key in _in_order(kept, list(known))]
    finite_marks = {
        name: {key: value for key in kept if (value := finite(mark.get(key))) is not None}
        for name, mark in marks.items()
    }
    return Sheet(title, columns, values, {name: mark for name, mark in finite_marks.items() if mark})


def _adjusted(differences: Mapping[str, Any] | None) -> dict[str, float]:
    found = {key: finite((each or {}).get("p_holm")) for key, each in (differences or {}).items()}
    return {key: p for key, p in found.items() if p is not None}


def _by_seed(runs: Sequence[Mapping[str, Any]], key: str) -> Values:
    found = {run["seed"]: finite(run.get(key)) for run in runs if run.get("seed") is not None}
    return {seed: value for seed, value in found.items() if value is not None}


def _in_order(keys: Sequence[str], known: Sequence[str]) -> list[str]:
    """Known metrics in their order, then the others by name; perplexity last, it says what the loss says."""
    rank = {key: place for place, key in enumerate(known)}
    rank["perplexity"] = len(known) + 1
    return sorted(keys, key=lambda key: (rank.get(_plain(key), len(known)), key))


def _plain(key: str) -> str:
    return key.removesuffix(TO_TEACHER)


def _other(key: str, like: Column | None) -> Column:
    """A metric under its own name; `like` the known one where only the references are others."""
    if like is not None:
        return replace(like, key=key, title=f"{like.title} (teacher's answers)")
    return Column(key, key.replace("_", " "), better=better(key))
