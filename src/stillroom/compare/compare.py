"""A whole comparison: learning rates, trainings, exams, then one table, one page and the numbers behind them.

What is done on disk is not done again, so a comparison can be stopped, continued and extended by the same command.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from stillroom.compare.content import content
from stillroom.compare.exams import check_exams, sit, sittings
from stillroom.compare.execute import execute
from stillroom.compare.lock import locked
from stillroom.compare.plan import Plan
from stillroom.compare.processes import Look, Say
from stillroom.compare.schedule import Run, Schedule, choose, schedule, state
from stillroom.compare.sheet import sheet
from stillroom.compare.table import table
from stillroom.core.record import read_summary, write_text_atomically
from stillroom.report.numbers import finite

RESULTS = "compare.json"


@dataclass(frozen=True)
class Outcome:
    """`content` is what the file at `path` holds; empty where a stop came before anything was done."""

    content: dict[str, Any]
    exit: Literal["done", "failed", "stopped"]
    path: Path


@dataclass
class _Made:
    """What is known so far."""

    trials: dict[str, dict[float, float]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def plain(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def run_comparison(
    plan: Plan,
    output: Path,
    *,
    jobs: int = 1,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    sets: Sequence[str] = (),
    results: Path | None = None,
    command: str = "",
    exam_words: Sequence[str] = (),
    say: Say = plain,
    look: Look | None = None,
) -> Outcome:
    """Train every variant with every seed, examine the students, and write `results` (default: compare.json in
    `output`) with a table (.md), a sheet (.csv) and a page (.html) beside it.

    `only`, `seeds` and `sets` as in `schedule`; `exam_words` go to every `stillroom evaluate`; `command` is what the
    page says was typed. Ctrl-C ends all processes and writes what there is. `BadInput` before the first run.
    """
    wanted = schedule(plan, output, only, seeds, sets)
    if plan.test is not None:
        check_exams(wanted.runs({}), plan.test, exam_words)
    path = results or output / RESULTS
    with locked(output):
        made, end = _Made(), "done"
        try:
            _make(wanted, made, jobs, exam_words, say, look)
        except KeyboardInterrupt:
            say("stopped; the same command goes on")
            end = "stopped"
        if end == "stopped" and not any(state(run) == "done" for run in made.runs):
            return Outcome({}, "stopped", path)
        found = content(wanted, made.runs, made.trials, made.failed)
        found = {"name": path.stem if results else output.name, "command": command, "jobs": jobs, **found}
        write(found, path)
    return Outcome(found, "stopped" if end == "stopped" else "failed" if made.failed else "done", path)


def _make(
    wanted: Schedule, made: _Made, jobs: int, exam_words: Sequence[str], say: Say, look: Look | None
) -> None:
    _search(wanted, made, jobs, say, look)
    rates = {name: choose(losses) for name, losses in made.trials.items() if losses}
    made.runs = [run for run in wanted.runs(rates) if run.variant in rates or run.variant not in made.trials]
    execute(made.runs, jobs, say, look, made.failed)
    if (test := wanted.plan.test) is not None:
        sitting = sittings(made.runs, wanted.plan.against, test, wanted.output)
        sit(sitting, jobs, say, look, exam_words, made.failed)


def _search(wanted: Schedule, made: _Made, jobs: int, say: Say, look: Look | None) -> None:
    """Held-out loss by variant and learning rate. A failed trial is no candidate."""
    trials = wanted.trials()
    every = [run for found in trials.values() for run in found.values()]
    if every:
        say(f"learning rates: {len(every)} trials")
    execute(every, jobs, say, look, made.failed)
    for name, found in trials.items():
        losses = {rate: _loss(run) for rate, run in found.items() if run.folder.name not in made.failed}
        made.trials[name] = {rate: loss for rate, loss in losses.items() if loss is not None}


def _loss(run: Run) -> float | None:
    return finite(read_summary(run.folder).final.get("loss"))


def write(found: dict[str, Any], path: Path) -> None:
    """All four files, each whole or not at all."""
    from stillroom.report.comparison_page import comparison_page

    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text_atomically(path, text)
    write_text_atomically(path.with_suffix(".csv"), sheet(found))
    write_text_atomically(path.with_suffix(".md"), table(found))
    write_text_atomically(path.with_suffix(".html"), comparison_page(found))
