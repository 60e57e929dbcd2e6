"""Trainings as processes of their own. What is done is kept, what was stopped goes on from its checkpoint.

The recipe of each goes to `recipes/` beside the run folders, what it says on standard error to `logs/`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from stillroom.compare.processes import Look, Say, Work, work_off
from stillroom.compare.schedule import Run, resumable, state
from stillroom.core.record import SUMMARY, read_summary, write_text_atomically


def execute(
    runs: Sequence[Run],
    jobs: int,
    say: Say,
    look: Look | None = None,
    failed: dict[str, str] | None = None,
) -> dict[Path, str]:
    """Make what is missing among `runs`, in order, `jobs` at a time, one line of progress each.

    Returns why runs failed, by folder; `failed` has the same by name, also where this is stopped. However this is left,
    no process stays behind. One that failed is tried again
    the next time this is called; one that could not go on from its checkpoint is made anew at once.
    """
    states = {run.folder: state(run) for run in runs}
    waiting = [run for run in runs if states[run.folder] != "done"]
    steps = {run.folder: resumable(run) for run in waiting}
    for run in waiting:
        _announce(run, states[run.folder], steps[run.folder], say)
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are there already")
    works = [_work(run, steps[run.folder] > 0) for run in waiting]
    failed = {} if failed is None else failed
    failures = work_off(works, jobs, say, look, failed)
    stuck = [run for run in waiting if run.folder.name in failures and steps[run.folder]]
    for run in stuck:
        say(f"{run.folder.name}: could not go on ({failures.pop(run.folder.name)}); it is made anew")
        del failed[run.folder.name]
    failures |= work_off([_work(run, False) for run in stuck], jobs, say, look, failed)
    return {run.folder: failures[run.folder.name] for run in waiting if run.folder.name in failures}


def command(recipe: Path, resume: bool = False) -> list[str]:
    """What makes the run of a recipe file."""
    how = "--resume" if resume else "--overwrite"
    return [sys.executable, "-m", "stillroom", "distill", str(recipe), how, "--quiet"]


def _announce(run: Run, why: str, step: int, say: Say) -> None:
    if step:
        say(f"{run.folder.name}: {why}; it goes on from step {step}")
    elif why != "missing":
        say(f"{run.folder.name}: {why}; it is made anew")


def _work(run: Run, resume: bool) -> Work:
    home, name = run.folder.parent, run.folder.name

    def begin() -> list[str]:
        recipe = home / "recipes" / f"{name}.yaml"
        write_text_atomically(recipe, run.recipe.to_yaml())
        return command(recipe, resume=True) if resume else command(recipe)

    def result() -> str | None:
        if not (run.folder / SUMMARY).exists():
            return None
        summary = read_summary(run.folder)
        loss = summary.final.get("loss", float("nan"))
        return f"held-out loss {loss:.4f}" if summary.exit == "done" else None

    return Work(name, home / "logs" / f"{name}.txt", begin, result)
