"""Progress on a terminal with rich; one plain line now and then where there is no terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stillroom.core.progress import Advance, Display

PLAIN_EVERY_SECONDS = 15.0


class Terminal:
    """A live bar for each task; finished tasks leave one line behind."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    def say(self, text: str) -> None:
        self.console.print(Text(text))

    @contextmanager
    def task(self, title: str) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task(title, total=None, detail="")
            started, last = time.monotonic(), ""

            def advance(done: int, total: int, detail: str = "") -> None:
                nonlocal last
                last = detail or last
                progress.update(bar, completed=done, total=total, detail=last)

            yield advance
        seconds = time.monotonic() - started
        self.console.print(Text.assemble(("✓ ", "green"), title, (f"  {seconds:.0f} s  {last}", "dim")))


class Plain:
    """For logs and pipes: the title, a line every few seconds, and the time it took."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str) -> Iterator[Advance]:
        started = shown = time.monotonic()
        last = ""

        def advance(done: int, total: int, detail: str = "") -> None:
            nonlocal shown, last
            last = detail or last
            now = time.monotonic()
            if now - shown >= PLAIN_EVERY_SECONDS:
                shown = now
                self.say(f"{title}: {done}/{total} {last}".rstrip())

        yield advance
        self.say(f"{title}: done in {time.monotonic() - started:.0f} s {last}".rstrip())


def display(quiet: bool = False) -> Display:
    """Live where standard error is a terminal, plain lines elsewhere."""
    if quiet:
        from stillroom.core.progress import Silent

        return Silent()
    return Terminal() if Console(stderr=True).is_terminal else Plain()
