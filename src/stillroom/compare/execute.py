"""Runs as processes of their own, several at a time: one crash does not lose the rest, and Ctrl-C ends them all.

The recipe of each goes to `recipes/` beside the run folders, what it says on standard error to `logs/`. With more
than one at a time each has one thread, so that the machine is not asked for more than it has.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stillroom.compare.schedule import Run, state
from stillroom.core.record import read_summary, write_text_atomically
from stillroom.report.numbers import duration

Say = Callable[[str], None]
_PATIENCE = 10.0  # seconds that a stopped run has to leave its step


@dataclass
class _Live:
    run: Run
    process: subprocess.Popen[bytes]
    log: Path
    since: float


def execute(runs: Sequence[Run], jobs: int, say: Say) -> dict[Path, str]:
    """Make what is missing among `runs`, in order, `jobs` at a time, one line of progress each.

    Returns why runs failed, by folder: the last line that they said. However this is left, no process stays behind.
    """
    states = {run.folder: state(run) for run in runs}
    waiting = [run for run in runs if states[run.folder] != "done"]
    for run in waiting:
        if (why := states[run.folder]) not in ("missing", "done"):
            say(f"{run.folder.name}: {why}; it is made anew")
    if len(waiting) < len(runs):
        say(f"{len(runs) - len(waiting)} of {len(runs)} runs are there already")
    failures: dict[Path, str] = {}
    spent: list[float] = []
    live: list[_Live] = []
    queue = list(waiting)
    try:
        while queue or live:
            while queue and len(live) < jobs:
                live.append(_start(queue.pop(0), jobs))
            for ended in [each for each in live if each.process.poll() is not None]:
                live.remove(ended)
                spent.append(time.monotonic() - ended.since)
                if reason := _failure(ended):
                    failures[ended.run.folder] = reason
                ahead = len(waiting) - len(spent)
                left = sum(spent) / len(spent) * ahead / jobs
                say(_line(ended, reason, f"{len(spent)}/{len(waiting)}", left if ahead else 0.0))
            time.sleep(0.1)
    finally:
        _stop(live)
    return failures


def command(recipe: Path) -> list[str]:
    """What makes the run of a recipe file."""
    return [sys.executable, "-m", "stillroom", "distill", str(recipe), "--overwrite", "--quiet"]


def _start(run: Run, jobs: int) -> _Live:
    home, name = run.folder.parent, run.folder.name
    recipe, log = home / "recipes" / f"{name}.yaml", home / "logs" / f"{name}.txt"
    write_text_atomically(recipe, run.recipe.to_yaml())
    log.parent.mkdir(parents=True, exist_ok=True)
    one_thread = {"OMP_NUM_THREADS": "1"} if jobs > 1 else {}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command(recipe),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | one_thread,
            start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we end them
        )
    return _Live(run, process, log, time.monotonic())


def _failure(ended: _Live) -> str:
    """Empty where the run is done."""
    code, folder = ended.process.returncode, ended.run.folder
    if code == 0 and read_summary(folder).exit == "done":
        return ""
    said = ended.log.read_text(encoding="utf-8", errors="replace").splitlines()
    spoken = [line.strip() for line in said if line.strip()]
    return spoken[-1][:300] if spoken else f"it ended with exit code {code} and said nothing"


def _line(ended: _Live, reason: str, count: str, left: float) -> str:
    run = ended.run
    loss = "" if reason else f"held-out loss {read_summary(run.folder).final.get('loss', float('nan')):.4f}, "
    took = duration(time.monotonic() - ended.since)
    rest = f"; about {duration(left)} left" if left else ""
    return f"[{count}] {run.folder.name}: {f'FAILED ({reason}), ' if reason else loss}{took}{rest}"


def _stop(live: Sequence[_Live]) -> None:
    """Ask, wait, then end; a second Ctrl-C does not wait."""
    for each in live:
        each.process.terminate()
    deadline = time.monotonic() + _PATIENCE
    for each in live:
        try:
            each.process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            deadline = 0.0
            each.process.kill()
            each.process.wait()
