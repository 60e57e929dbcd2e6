"""Two language models with two tokenizers on responses of Dolly, built as a training would build them.

Data is found under STILLROOM_DATA (default `../shared/data` beside the repository). The teacher is that of
`dolly/second_teacher.yaml`.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dskd.models import BENCH, DOLLY
from stillroom.core.batch import Batch
from stillroom.core.signals import Signals
from stillroom.recipe.build import Built, build, collator
from stillroom.recipe.load import load_recipe
from stillroom.recipe.prepare import prepare
from stillroom.recipe.schema import Recipe
from stillroom.taps.capture import capture

Row = dict[str, float | int | str | None]
"""Of a table."""
Answer = tuple[Signals, Signals, Batch]
"""What student and teacher say to a batch."""


@dataclass(frozen=True)
class TwoModels:
    """Student, teacher and objectives, and padded text that both read."""

    built: Built
    inputs: list[dict[str, Tensor]]

    @torch.no_grad()
    def answers(self) -> Iterator[Answer]:
        """To every batch, all that any objective asks for."""
        pair, teacher = self.built.pair, self.built.teacher
        assert teacher is not None
        pair.eval()
        for each in self.inputs:
            batch = Batch.from_inputs(each)
            size = pair.student_shape.vocab_size
            ours = capture(pair.student, batch.student, pair.student_requests, vocab_size=size)
            yield ours, teacher.answer(batch, pair.teacher_requests), batch


def open_models(recipe: Recipe, batch_size: int = 8) -> TwoModels:
    """The training text of the recipe, in its order, shorter batches last."""
    prepared = prepare(recipe)
    built, collate = build(prepared, lambda *steps: None), collator(prepared)
    rows = [prepared.train[index] for index in range(len(prepared.train))]
    starts = range(0, len(rows), batch_size)
    return TwoModels(built, [collate(rows[start : start + batch_size]) for start in starts])


def recipe_of(
    options: argparse.Namespace, objectives: Sequence[Any], spans: str | dict[str, str] | None = None
) -> Recipe:
    """Nothing is trained or written by it. `spans`: as `data.spans`."""
    return load_recipe(
        values={
            "student": {"model": str(options.student)},
            "teacher": {"model": str(options.teacher), "dtype": "float32"},
            "data": as_read(options) | {"spans": spans},
            "objectives": list(objectives),
            "training": {"use_cpu": True, "per_device_train_batch_size": 1},
            "evaluation": {"metrics": [], "prompts": 0},
            "output": str(Path(options.output) / "never-run"),
        }
    )


def as_read(options: argparse.Namespace) -> dict[str, Any]:
    """The text as `dolly/two_tokenizers.yaml` reads it."""
    return {
        "train": str(options.text),
        "limit": options.samples,
        "template": "alpaca",
        "max_length": 256,
        "max_prompt_length": 160,
    }


def add_models(parser: argparse.ArgumentParser, samples: int, teacher: Path | None = None) -> None:
    """`teacher`: the folder, where none is named."""
    parser.add_argument("--student", type=Path, default=BENCH / "student")
    parser.add_argument("--teacher", type=Path, default=teacher, required=teacher is None, help="its folder")
    parser.add_argument("--text", type=Path, default=DOLLY / "minillm_dev.jsonl")
    parser.add_argument("--samples", type=int, default=samples)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
