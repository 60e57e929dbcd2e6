"""A run folder as the report sees it: everything that could be missing or broken is settled here.

Only an absent or unreadable run.json is refused; for the rest the page says what is missing and why.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.core.inspection import Inspection, read_inspection
from stillroom.core.record import INSPECTION, METRICS, RECIPE, SAMPLES, RunSummary, read_jsonl, read_summary

_UNFINISHED = {
    "running": "the run has not ended",
    "stopped": "the run was stopped before its evaluation",
    "failed": "the run failed before its evaluation",
}


@dataclass(frozen=True)
class Run:
    """One run folder, read."""

    path: Path
    label: str
    """The name, made unique among the runs of a report."""
    summary: RunSummary
    metrics: Sequence[Mapping[str, Any]] = ()
    samples: Sequence[Mapping[str, Any]] = ()
    recipe: str | None = None
    inspection: Inspection | None = None
    problems: list[str] = field(default_factory=list)
    """Sentences about files that are absent or damaged."""

    @property
    def has_teacher(self) -> bool:
        return bool(self.summary.models.get("teacher") or self.summary.teacher)

    @property
    def why_unmeasured(self) -> str:
        """Why a metric of this run may be absent."""
        return _UNFINISHED.get(self.summary.exit, "not measured in this run")


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in the order given; `BadInput` where there are none or one is not a run folder."""
    if not folders:
        raise BadInput("a report needs at least one run folder, none was given; name the folder a run wrote.")
    summaries = [_tidy(read_summary(Path(folder))) for folder in folders]
    labels = _unique_labels(summaries)
    return [
        _read(Path(folder), name, summary)
        for folder, name, summary in zip(folders, labels, summaries, strict=True)
    ]


def _read(folder: Path, name: str, summary: RunSummary) -> Run:
    problems: list[str] = []
    metrics = _rows(folder / METRICS, "there are no curves", problems)
    samples = _rows(folder / SAMPLES, "there are no answers to show", problems)
    recipe = _text(folder / RECIPE)
    inspection = _inspection(folder / INSPECTION, problems)
    return Run(folder, name, summary, metrics, samples, recipe, inspection, problems)


def _rows(path: Path, consequence: str, problems: list[str]) -> list[dict[str, Any]]:
    try:
        rows = [row for row in read_jsonl(path) if isinstance(row, dict)]
    except (BadInput, OSError, UnicodeDecodeError, RecursionError) as error:
        problems.append(f"{path.name} is damaged, so {consequence}: {error}")
        return []
    if not rows:
        state = "empty" if path.exists() else "absent"
        problems.append(f"{path.name} is {state}, so {consequence}.")
    return rows


def _inspection(path: Path, problems: list[str]) -> Inspection | None:
    try:
        return read_inspection(path)
    except (BadInput, OSError) as error:
        problems.append(str(error))
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _tidy(summary: RunSummary) -> RunSummary:
    """Put the empty default where run.json holds a value of the wrong kind, such as null for a dictionary."""
    blank = RunSummary(name="unnamed run")
    for entry in fields(summary):
        default = getattr(blank, entry.name)
        kind = (int, float) if isinstance(default, int | float) else type(default)
        if not isinstance(getattr(summary, entry.name), kind):
            setattr(summary, entry.name, default)
    summary.models = {key: value for key, value in summary.models.items() if isinstance(value, dict)}
    summary.data = {key: value for key, value in summary.data.items() if isinstance(value, dict)}
    summary.objectives = [entry for entry in summary.objectives if isinstance(entry, dict)]
    summary.notes = [str(note) for note in summary.notes]
    return summary


def _unique_labels(summaries: Sequence[RunSummary]) -> list[str]:
    """Names; where two runs share one, the seed is added, and a number where that is shared as well."""
    names = [summary.name.strip() or "unnamed run" for summary in summaries]
    shared = Counter(names)
    with_seed = [
        f"{name} (seed {summary.seed})" if shared[name] > 1 else name
        for name, summary in zip(names, summaries, strict=True)
    ]
    shared, seen, labels = Counter(with_seed), Counter[str](), []
    for name in with_seed:
        seen[name] += 1
        labels.append(f"{name} #{seen[name]}" if shared[name] > 1 else name)
    return labels
