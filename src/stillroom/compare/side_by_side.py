"""What teacher, untrained student and every variant answer to the same prompts, from files of the first seed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stillroom.compare.exams import TEACHER, UNTRAINED, Sitting
from stillroom.compare.schedule import Run, state
from stillroom.core.record import SAMPLES, read_jsonl

_COLUMNS = {"teacher": TEACHER, "baseline": UNTRAINED}

Answers = dict[tuple[str | None, str], dict[str, Any]]


def side_by_side(
    runs: Sequence[Run], wanted: Sequence[Sitting], seed: int, most: int
) -> list[dict[str, Any]]:
    """At most `most` prompts: those of the exams, as many of each, or else those of the held-out text."""
    found: Answers = {}
    for each in wanted:
        if each.seed in (seed, None) and each.done():
            for row in each.texts():
                _add(found, row.get("exam"), row, {each.owner: row.get("text")})
    if not found:
        for run in runs:
            if run.seed == seed and state(run) == "done":
                for row in read_jsonl(run.folder / SAMPLES):
                    _add(found, None, row, {run.variant: row.get("student")} | _marks(row))
    return _fairly(found, most)


def _add(found: Answers, exam: str | None, row: Mapping[str, Any], texts: Mapping[str, Any]) -> None:
    entry = found.setdefault(
        (exam, str(row.get("prompt"))),
        {"exam": exam, "prompt": row.get("prompt"), "reference": row.get("reference"), "texts": {}},
    )
    for name, text in texts.items():
        if text is not None:  # several seeds of the sampler: the first one
            entry["texts"].setdefault(name, text)


def _marks(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(column) for column, name in _COLUMNS.items()}


def _fairly(found: Answers, most: int) -> list[dict[str, Any]]:
    """Of each exam the first, of each the second, and so on."""
    exams = list(dict.fromkeys(exam for exam, _ in found))
    rows = {exam: [entry for (each, _), entry in found.items() if each == exam] for exam in exams}

    def turns() -> Iterator[dict[str, Any]]:
        for place in range(most):
            for exam in exams:
                if place < len(rows[exam]):
                    yield rows[exam][place]

    kept = [entry for entry, _ in zip(turns(), range(most), strict=False)]
    return sorted(kept, key=lambda entry: exams.index(entry["exam"]))
