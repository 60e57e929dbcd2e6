"""Look inside a training: build it again from its run folder or recipe, measure, and write inspection.json.

Every part is written as soon as it is done, so that stopping keeps what was finished. Data, batches and directions are
the same for all runs that read the same text: their inspections can be laid side by side.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.core.inspection import Inspection, Reach, read_inspection, write_inspection
from stillroom.core.progress import Display, Silent
from stillroom.core.record import INSPECTION, METRICS, RECIPE, RunSummary, read_jsonl, read_summary
from stillroom.diagnostics import reach as reaching
from stillroom.recipe.inspector import Inspector
from stillroom.recipe.places import Subject, find_subject

PARTS = ("interference", "features", "heads", "landscape")


def inspect(
    target: Path,
    *,
    only: Sequence[str] = (),
    batches: int = 16,
    samples: int = 256,
    points: int = 51,
    directions: int = 3,
    against: Path | None = None,
    reach: float | None = None,
    sentence: str | None = None,
    layers: Sequence[int] = (),
    seed: int = 0,
    output: Path | None = None,
    display: Display | None = None,
) -> Path:
    """Inspect a run folder or a recipe file and return the path of what was written (default: inspection.json in the
    run's folder, or in the output folder of a recipe that has not been run).

    `only` names some of `PARTS`; the others are kept as an earlier inspection left them. `batches` of training text
    for gradients, `samples` for features, losses and shares of heads, `points` (odd) along each of `directions`. The
    target loss whose time is looked for is `reach`, or the final loss of the run `against`. Maps of merged heads are
    shown on `sentence` (None: the first held-out text), of these `layers` of the student (none: three of them). Raises
    `BadInput`.
    """
    _check(only, points, against, reach)
    if only and "heads" not in only and (sentence is not None or layers):
        raise BadInput(
            "--sentence and --layer are about maps of heads, which --only leaves out; add heads to it"
        )
    _check_counts(batches=(batches, 1), samples=(samples, 2), directions=(directions, 1))
    subject = find_subject(Path(target))
    if subject.run is None and (against or reach is not None):
        raise BadInput("--against and --reach look at the losses of a run, and the recipe has not been run")
    path = Path(output or subject.folder / INSPECTION)
    inspection = _begun(path, subject) if only else _empty(subject)
    inspection.notes = []
    if subject.run is not None:
        rows = read_jsonl(subject.run / METRICS)
        inspection.measures = _last_measures(rows)
        if against or reach is not None:
            inspection.reach = _reach(rows, subject, Path(against) if against else None, reach)
    work = Inspector(subject, inspection, batches, samples, seed, display or Silent())
    work.load()
    parts: dict[str, Callable[[], None]] = {
        "interference": work.interference,
        "features": work.features,
        "heads": lambda: work.heads(sentence, layers),
        "landscape": lambda: work.landscape(points, directions),
    }
    for (
        name
    ) in PARTS:  # in this order: the first goes through all of training, and nothing leads back to its start
        if only and name not in only:
            continue
        started = time.monotonic()
        parts[name]()
        inspection.seconds[name] = round(time.monotonic() - started, 1)
        write_inspection(path, inspection)
    return path


def _check(only: Sequence[str], points: int, against: Path | None, target: float | None) -> None:
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise BadInput(f"--only: expected some of {', '.join(PARTS)}, got {unknown[0]!r}")
    if points < 3 or points % 2 == 0:
        raise BadInput(
            f"--points: expected an odd number of at least 3, with the student in the middle, got {points}"
        )
    if against is not None and target is not None:
        raise BadInput("--against and --reach both name a target loss; give one of them")
    if target is not None and not math.isfinite(target):
        raise BadInput(f"--reach: expected a finite loss, got {target}")


def _check_counts(**counts: tuple[int, int]) -> None:
    for name, (given, least) in counts.items():
        if given < least:
            raise BadInput(f"--{name}: expected at least {least}, got {given}")


def _empty(subject: Subject) -> Inspection:
    recipe = subject.recipe.to_yaml().encode() if subject.run is None else (subject.run / RECIPE).read_bytes()
    return Inspection(subject.steps, hashlib.sha256(recipe).hexdigest()[:16])


def _begun(path: Path, subject: Subject) -> Inspection:
    """What an earlier inspection of the same recipe at the same step found; a new one where there is none."""
    empty = _empty(subject)
    try:
        before = read_inspection(path)
    except BadInput:
        before = None
    is_same = before is not None and (before.steps, before.recipe) == (empty.steps, empty.recipe)
    return before if before is not None and is_same else empty


def _reach(
    rows: Sequence[dict[str, Any]], subject: Subject, against: Path | None, target: float | None
) -> Reach:
    rival: Sequence[dict[str, Any]] = []
    source = "given"
    if against is not None:
        summary, rival = read_summary(against), read_jsonl(against / METRICS)
        source, target = summary.name, summary.final.get("loss")
        _check_same_text(subject, against, summary)
    if target is None or not math.isfinite(target):
        raise BadInput(f"--against: {against} has no final held-out loss to reach; give one with --reach")
    found = Reach(target, source, reaching.METRIC, reaching.best(rows))
    found.step, found.seconds = (reaching.reach(rows, target, key) for key in ("step", "seconds"))
    found.rival_step, found.rival_seconds = (
        reaching.reach(rival, target, key) for key in ("step", "seconds")
    )
    return found


def _check_same_text(subject: Subject, against: Path, rival: RunSummary) -> None:
    """A loss on other text is another number, not a target."""
    ours, theirs = (
        each.data.get("eval", {}).get("sha256") if each else None for each in (subject.summary, rival)
    )
    if ours != theirs:
        raise BadInput(f"--against: {against} was evaluated on other held-out text than {subject.folder}")


def _last_measures(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        name.removeprefix("measure/"): value
        for row in rows
        for name, value in row.items()
        if name.startswith("measure/") and isinstance(value, int | float) and math.isfinite(value)
    }
