"""How long work tells a person where it stands; what shows it is the command line's business."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Advance(Protocol):
    """Called with what is done, what there is in all, and a short word on how it goes."""

    def __call__(self, done: int, total: int, detail: str = "") -> None: ...


class Display(Protocol):
    """Where progress is shown."""

    def say(self, text: str) -> None:
        """One finished sentence."""
        ...

    def task(self, title: str) -> AbstractContextManager[Advance]:
        """A piece of work that takes a while."""
        ...


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def task(self, title: str) -> Iterator[Advance]:
        yield lambda done, total, detail="": None
