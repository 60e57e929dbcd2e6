"""Work as processes of their own, several at a time: one crash does not lose the rest, and Ctrl-C ends them all.

What each says on standard error goes to `logs/`. With more than one at a time the cores are shared out among them, so
that the machine is not asked for more than it has.
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stillroom.report.markup import label
from stillroom.report.numbers import duration

Say = Callable[[str], None]
_PATIENCE = 10.0  # seconds that a stopped process has to leave its step
_POLL = 0.1
_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Work:
    """One process. `begin` readies what it needs and gives its command. `result` is asked where that ended with code 0:
    a word on what came of it, None where it is not done all the same."""

    name: str
    log: Path
    begin: Callable[[], Sequence[str]]
    result: Callable[[], str | None]


@dataclass
class Live:
    work: Work
    process: subprocess.Popen[bytes]
    since: float


@dataclass
class Standing:
    """Where a list of work stands: what runs, how many ended (and how long each took), what failed and why."""

    total: int
    jobs: int
    live: list[Live] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def seconds_left(self) -> float | None:
        """By the mean of those that ended; None before the first."""
        if not self.spent:
            return None
        mean = sum(self.spent) / len(self.spent)
        begun = sum(min(time.monotonic() - each.since, mean) for each in self.live)
        return max(0.0, mean * (self.total - len(self.spent)) - begun) / min(self.jobs, self.total)


Look = Callable[[Standing], None]
"""Called a few times a second while work is done."""


def work_off(
    works: Sequence[Work], jobs: int, say: Say, look: Look | None = None, failed: dict[str, str] | None = None
) -> dict[str, str]:
    """All of them in order, `jobs` at a time, one line of progress each; why some failed, by name.

    However this is left, no process stays behind, and `failed` holds the reasons so far.
    """
    queue, now = list(works), Standing(len(works), jobs)
    try:
        while queue or now.live:
            while queue and len(now.live) < jobs:
                now.live.append(_start(queue.pop(0), jobs))
            for ended in [each for each in now.live if each.process.poll() is not None]:
                now.live.remove(ended)
                now.spent.append(time.monotonic() - ended.since)
                if reason := _failure(ended):
                    now.failures[ended.work.name] = reason
                    if failed is not None:
                        failed[ended.work.name] = reason
                say(_line(ended.work, reason, now))
            if look is not None:
                look(now)
            time.sleep(_POLL)
    finally:
        _stop(now.live)
    return now.failures


def _start(work: Work, jobs: int) -> Live:
    command = list(work.begin())
    work.log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with work.log.open("wb") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
            close_fds=False,  # only the lock of the folder is inheritable
            start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we end them
        )
    return Live(work, process, time.monotonic())


def _failure(ended: Live) -> str:
    """Empty where the work is done."""
    code = ended.process.returncode
    if code == 0 and ended.work.result() is not None:
        return ""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        why = "; out of memory is the usual reason" if name == "SIGKILL" else ""
        return f"it was killed by {name}{why}"
    said = ended.work.log.read_text(encoding="utf-8", errors="replace").splitlines()
    spoken = [_COLORS.sub("", line).strip() for line in said if line.strip()]
    return label(spoken[-1], 300) if spoken else f"it ended with exit code {code} and said nothing"


def _line(work: Work, reason: str, now: Standing) -> str:
    outcome = f"FAILED ({reason})" if reason else work.result()
    left = (now.seconds_left() or 0.0) if len(now.spent) < now.total else 0.0
    rest = f"; about {duration(left)} left" if left else ""
    return f"[{len(now.spent)}/{now.total}] {work.name}: {outcome}, {duration(now.spent[-1])}{rest}"


def _stop(live: Sequence[Live]) -> None:
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
