"""Many programs in sandboxes of their own, several at a time, in the order in which they came."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from stillroom.evaluation.code.outcome import KINDS, Limits, Outcome
from stillroom.evaluation.code.sandbox import require_sandbox, run_program

MAX_WORKERS = 16


def run_programs(
    programs: Sequence[str],
    limits: Limits | None = None,
    *,
    workers: int | None = None,
    inside_container: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """The outcome of every program. `workers` at a time, by default as many as there are processors, at most 16.

    The sandbox is tried before the first program; `BadInput` where there is none.
    """
    require_sandbox(inside_container=inside_container)
    done, lock = 0, threading.Lock()

    def run(program: str) -> Outcome:
        nonlocal done
        outcome = run_program(program, limits, inside_container=inside_container)
        with lock:
            done += 1
            if progress is not None:
                progress(done, len(programs))
        return outcome

    pool = ThreadPoolExecutor(workers or min(MAX_WORKERS, os.cpu_count() or 1))
    try:
        return list(pool.map(run, programs))
    finally:
        pool.shutdown(cancel_futures=True)  # at Ctrl-C nothing new starts, what runs ends within its limits


def count_kinds(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many outcomes there are of every kind, those with none included."""
    counts = Counter(outcome.kind for outcome in outcomes)
    return {kind: counts[kind] for kind in KINDS}
