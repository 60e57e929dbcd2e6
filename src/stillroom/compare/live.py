"""A table that shows a comparison while it is made: one row a variant, and what its run does now."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stillroom.compare.exams import EXAMS_OF
from stillroom.compare.processes import Standing
from stillroom.compare.schedule import Schedule, slug
from stillroom.core.record import METRICS, SUMMARY, RunSummary, read_summary
from stillroom.report.numbers import duration, finite

_EVERY = 0.5  # seconds between two looks at the disk
_TAIL = 4096


@dataclass
class LiveTable:
    """Give `say` and the table itself (as `look`) to `run_comparison`, inside `with`."""

    wanted: Schedule
    console: Console
    _live: Live = field(init=False)
    _done: dict[str, RunSummary] = field(default_factory=dict)
    _looked: float = 0.0

    def __enter__(self) -> Self:
        self._live = Live(console=self.console, transient=True, auto_refresh=False)
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._live.console.print(Text(text))

    def __call__(self, now: Standing) -> None:
        if time.monotonic() - self._looked >= _EVERY:
            self._looked = time.monotonic()
            self._live.update(self.table(now), refresh=True)

    def table(self, now: Standing) -> Table:
        left = now.seconds_left()
        ahead = f", about {duration(left)} left" if left else ""
        broken = f", {len(now.failures)} failed" if now.failures else ""
        title = f"{len(now.spent)} of {now.total} done{broken}{ahead}"
        table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
        for head in ("", "runs", "held-out loss", f"minus {self.wanted.plan.against}", "now"):
            table.add_column(Text(head), justify="left" if head in ("", "now") else "right")
        others = self._losses(self.wanted.plan.against)
        for name in self.wanted.variants:
            table.add_row(*(Text(cell) for cell in self._row(name, others, now)))
        return table

    def _row(self, name: str, others: dict[int, float], now: Standing) -> list[str]:
        losses = self._losses(name)
        pairs = [losses[seed] - others[seed] for seed in losses if seed in others]
        shown = "—" if not losses else f"{fmean(losses.values()):.4f}"
        minus = f"{fmean(pairs):+.4f}" if pairs and name != self.wanted.plan.against else "—"
        return [name, f"{len(losses)}/{len(self.wanted.seeds)}", shown, minus, self._doing(name, now)]

    def _losses(self, name: str) -> dict[int, float]:
        found = {}
        for seed in self.wanted.seeds:
            summary = self._summary(self.wanted.output / f"{slug(name)}-seed{seed}")
            if summary is not None and (loss := finite(summary.final.get("loss"))) is not None:
                found[seed] = loss
        return found

    def _summary(self, folder: Path) -> RunSummary | None:
        """Of a run that is done; what is done is read once."""
        if folder.name not in self._done and (folder / SUMMARY).exists():
            summary = read_summary(folder)
            if summary.exit != "done":
                return None
            self._done[folder.name] = summary
        return self._done.get(folder.name)

    def _doing(self, name: str, now: Standing) -> str:
        """In words, for each process of a variant."""
        start = f"{slug(name)}-"
        working = [each.work.name for each in now.live]
        training = [each for each in working if each.removeprefix("trial-").startswith(start)]
        sitting = [each for each in working if each.startswith(f"{EXAMS_OF}{start}")]
        words = [
            f"{each.replace(start, '', 1)}: {self._progress(self.wanted.output / each)}" for each in training
        ]
        return "; ".join([*words, *sitting])

    def _progress(self, folder: Path) -> str:
        row = last_row(folder / METRICS)
        if not row or row.get("step") is None:
            return "starting"
        steps = max((summary.steps for summary in self._done.values()), default=0)
        speed = row["tokens"] / row["seconds"] if row.get("seconds") else 0.0
        of = f"/{steps}" if steps >= row["step"] else ""
        return f"step {row['step']}{of}, {speed:,.0f} tokens/s"


def last_row(path: Path) -> dict[str, Any]:
    """The last whole line of a file that is being written; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return {}
    for line in reversed(lines):
        try:
            return json.loads(line)
        except json.JSONDecodeError:
            continue
    return {}
