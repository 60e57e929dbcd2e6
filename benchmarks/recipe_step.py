"""What benchmarks of whole training steps on real text share: models, objectives and a batch, built as a recipe says.

A step is the teacher's answer, the student's forward and backward pass, and AdamW. Repeats go round all contenders, so
that what else the machine does meets all alike. How is measured: see `measure.py`; memory is that of processes forked
before anything was computed.
"""

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from dskd.two_models import open_models, recipe_of
from measure import peak_growth, times
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.signals import FinalHidden, Head

COLUMNS = (
    "step",
    "seconds (median)",
    "fastest",
    "of the base",
    "fastest",
    "peak, MB",
    "of the base",
    "trained",
)
"""Of tables of `method_step.row`."""


class Trial:
    """Models, objectives, optimizer and one batch of a contender."""

    def __init__(
        self,
        options: argparse.Namespace,
        objectives: Sequence[Any],
        *,
        spans: str | dict[str, str] | None = None,
        asks: bool = True,
    ) -> None:
        """`objectives` and `spans` as a recipe has them. A teacher whom no objective reads says what most of them read;
        unless nobody asks."""
        models = open_models(recipe_of(options, objectives, spans), batch_size=options.batch)
        self.recipe, self.pair = models.built.recipe, models.built.pair.train()
        self.teacher, self.inputs = models.built.teacher, models.inputs[0]
        self.asked = (self.pair.teacher_requests or (FinalHidden(), Head())) if asks else ()
        self.optimizer = torch.optim.AdamW((p for p in self.pair.parameters() if p.requires_grad), lr=1e-5)

    def step(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        self.optimizer.zero_grad()

    def loss(self) -> Tensor:
        assert self.teacher is not None
        batch = Batch.from_inputs(self.inputs)
        totals = self.pair(self.inputs, self.teacher.answer(batch, self.asked))
        counts, factors = self.pair.counts(batch), self.pair.factors()
        return torch.stack(
            [factors[key] * each / counts[key].clamp(min=1) for key, each in totals.items()]
        ).sum()

    def held_bytes(self) -> int:
        """Weights of both models and of objectives, and what the optimizer keeps."""
        assert self.teacher is not None
        state = [t for each in self.optimizer.state.values() for t in each.values() if isinstance(t, Tensor)]
        weights = [each for member in self.teacher.members for each in member.model.parameters()]  # type: ignore[attr-defined]
        kept = [*self.pair.parameters(), *self.pair.buffers(), *weights, *state]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def trained(self) -> int:
        """Numbers that are trained and are not the student's."""
        return sum(each.numel() for each in self.pair.parts.parameters() if each.requires_grad)


Make = Callable[[str, argparse.Namespace], Trial]
"""A contender by name; a function of a module, since processes are told of it."""


def longest(options: argparse.Namespace, folder: Path) -> argparse.Namespace:
    """The options, on the longest of the first samples alone: rows are full, as in a batch grouped by length."""
    lines = options.text.read_text(encoding="utf-8").splitlines()[: options.samples]
    chosen = sorted(lines, key=lambda line: -len(str(json.loads(line)["output"])))[: options.batch]
    (folder / "longest.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return argparse.Namespace(
        **vars(options) | {"text": folder / "longest.jsonl", "samples": None, "output": folder}
    )


def growth(make: Make, names: Sequence[str], work: argparse.Namespace) -> dict[str, int]:
    """Bytes by which a step of each contender raises the resident set of a process of its own. To be called first."""
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        found = pool.starmap(_growth, [(make, name, work) for name in names], chunksize=1)
    return dict(zip(names, found, strict=True))


def _growth(make: Make, name: str, work: argparse.Namespace) -> int:
    trial = make(name, work)
    return peak_growth(trial.step, trial.forget)


def measured(
    trials: Mapping[str, Trial], grown: Mapping[str, int], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Time, memory and trained parameters of each contender."""
    steps = {name: each.step for name, each in trials.items()}
    seconds = times(steps, options.repeats, "cpu", options.clock)
    return {
        name: {
            "seconds": statistics.median(seconds[name]),
            "fastest": min(seconds[name]),
            "seconds_all": seconds[name],
            "held_bytes": trial.held_bytes(),
            "peak_growth_bytes": grown[name],
            "trained_parameters": trial.trained(),
        }
        for name, trial in trials.items()
    }
