"""Settings of a recipe, searched: trials are trainings in processes of their own, and the held-out text decides.

Written to the output folder: search.journal (what goes on after a stop), a run folder for each trial, without weights,
search.json with everything, search.md and search.html to read, best.yaml to train from. A trial that fails is a failed
trial, no more.
"""

import copy
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stillroom.compare.execute import execute
from stillroom.compare.lock import locked
from stillroom.compare.schedule import Run
from stillroom.core.errors import BadInput
from stillroom.core.record import STUDENT, SUMMARY, read_summary, write_text_atomically
from stillroom.report.numbers import finite
from stillroom.reproduce.text_once import read_text_once
from stillroom.search.findings import findings
from stillroom.search.page import search_page
from stillroom.search.space import Space
from stillroom.search.study import Memory, Suggestion
from stillroom.search.table import search_table
from stillroom.search.trials import best_recipe, check, trial_run

RESULTS = "search.json"
BEST = "best.yaml"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """`content` is what search.json holds. "failed": no trial came to a value."""

    content: dict[str, Any]
    exit: Literal["done", "failed", "stopped"]
    path: Path


def search(
    space: Space,
    output: Path,
    *,
    jobs: int = 1,
    sets: Sequence[str] = (),
    command: str = "",
    say: Say = print,
) -> Found:
    """Run what is left of the search, `jobs` trials at a time, and write what was found.

    The same call goes on with a search that was stopped or killed; more `trials` extend it. Ctrl-C writes what is
    there.
    Raises `BadInput` before the first trial for whatever can be known before it.
    """
    check(space, output, sets)
    space = space.model_copy(update={"base": copy.deepcopy(space.base)})
    reasons: dict[int, str] = {}
    stopped = False
    with locked(output):
        read_text_once(space.base, output, say)
        memory = Memory(space, output, sets)
        try:
            while batch := memory.next(jobs):
                _try(space, batch, output, sets, memory, reasons, jobs, say)
        except KeyboardInterrupt:
            say("stopped; the same command goes on")
            stopped = True
        content = {"command": command, **findings(space, memory, output, reasons)}
        _write(content, space, output, sets)
    end = "stopped" if stopped else "done" if content["best"] else "failed"
    return Found(content, end, output / RESULTS)


def _try(
    space: Space,
    batch: Sequence[Suggestion],
    output: Path,
    sets: Sequence[str],
    memory: Memory,
    reasons: dict[int, str],
    jobs: int,
    say: Say,
) -> None:
    """A few trials at once, then their values in the order of their numbers: results do not depend on who is faster."""
    runs: dict[int, Run] = {}
    for each in batch:
        said = ", ".join(f"{key}={_short(value)}" for key, value in each.values.items())
        say(f"trial {each.number} of {memory.total}: {said}")
        try:
            runs[each.number] = trial_run(space, each.number, each.values, output, sets)
        except BadInput as error:  # settings that are fine alone and contradict each other
            reasons[each.number] = str(error).splitlines()[0]
    failed = execute([*runs.values()], jobs, say)
    for run in runs.values():
        shutil.rmtree(run.folder / STUDENT, ignore_errors=True)
    for each in sorted(batch, key=lambda suggestion: suggestion.number):
        run = runs.get(each.number)
        value = _value(run, space.metric) if run and run.folder not in failed else None
        if run is not None and value is None:
            reasons[each.number] = failed.get(run.folder, f"its {space.metric} is not finite")
        if each.number in reasons:
            say(f"trial {each.number}: failed ({reasons[each.number]})")
            write_text_atomically(
                output / "logs" / f"trial-{each.number:03d}.why", reasons[each.number] + "\n"
            )
        memory.tell(each.number, value)


def _value(run: Run, metric: str) -> float | None:
    if not (run.folder / SUMMARY).exists():
        return None
    return finite(read_summary(run.folder).final.get(metric))


def _write(content: Mapping[str, Any], space: Space, output: Path, sets: Sequence[str]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_text_atomically(output / RESULTS, text)
    write_text_atomically(output / "search.md", search_table(content))
    write_text_atomically(output / "search.html", search_page(content))
    if content["best"]:
        recipe = best_recipe(space, content["best"]["values"], output / "best", sets)
        write_text_atomically(output / BEST, recipe.to_yaml())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
