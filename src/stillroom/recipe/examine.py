"""Marks of teacher, undistilled and distilled student on the held-out text of one run, and their answers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stillroom.core.batch import Batch
from stillroom.core.progress import Display
from stillroom.core.signals import FinalHidden, Head
from stillroom.data.collate import Collator
from stillroom.data.dataset import EncodedDataset
from stillroom.data.prompts import PromptItem
from stillroom.evaluation.evaluate_model import NEED_DATA, NEED_TEACHER, evaluate_model
from stillroom.recipe.build import collator, teacher_collator
from stillroom.recipe.encoding import sides
from stillroom.recipe.prepare import Prepared
from stillroom.recipe.vocabularies import Vocabulary
from stillroom.taps.capture import capture
from stillroom.taps.tail import tail_mass
from stillroom.teachers.ensemble import EnsembleTeacher, Live


@dataclass(frozen=True)
class Paper:
    """The exam as one model reads it, in its own vocabulary."""

    dataset: EncodedDataset | None
    collator: Collator
    tokenizer: Any
    prompts: list[PromptItem]
    vocabulary: Vocabulary


def paper(prepared: Prepared, role: str) -> Paper:
    """For "student" or "teacher"."""
    if role == "teacher" and prepared.vocabularies.are_two:
        return Paper(
            prepared.teacher_evaluation,
            teacher_collator(prepared),
            prepared.teacher_tokenizer,
            prepared.teacher_prompts,
            prepared.vocabularies.teacher,
        )
    ours = prepared.vocabularies.student
    return Paper(prepared.evaluation, collator(prepared), prepared.tokenizer, prepared.prompts, ours)


class Examiner:
    """Holds the exam: text, prompts, metrics. Remembers the answers by role."""

    def __init__(self, prepared: Prepared, teacher: Live | None, display: Display) -> None:
        self.prepared, self.teacher, self.display = prepared, teacher, display
        self.wishes = prepared.recipe.evaluation
        self.answers: dict[str, list[dict[str, str]]] = {}

    @property
    def metrics(self) -> list[str]:
        return self.prepared.metrics

    def marks(self, model: nn.Module, role: str, title: str) -> dict[str, float]:
        """Every metric of the recipe for a student; its answers are kept under `role`."""
        return self._marks(model, role, title, self.metrics, self.teacher)

    def teacher_marks(self) -> dict[str, float]:
        """The same for the teacher, but for what compares it with itself. Several teachers write no answers."""
        if self.teacher is None:
            return {}
        own = [metric for metric in self.metrics if metric not in NEED_TEACHER]
        if isinstance(self.teacher, EnsembleTeacher):
            with self.display.task("Evaluating the teachers") as advance:
                values, _ = self._evaluate(
                    "teacher", self.teacher, [each for each in own if each in NEED_DATA], None, [], None
                )
                advance(1, 1)
            return values
        return self._marks(self.teacher.model, "teacher", "Evaluating the teacher", own, None)

    def quick_marks(self, model: nn.Module) -> dict[str, float]:
        """Between training steps: likelihood only, no texts."""
        metrics = [metric for metric in self.metrics if metric in NEED_DATA]
        return self._evaluate("student", model, metrics, self.teacher, [], None)[0]

    def samples(self) -> list[dict[str, str]]:
        """Prompt, reference and the answer of each role, prompt by prompt."""
        rows = [dict(row) for row in next(iter(self.answers.values()), [])]
        return [
            {"prompt": row["prompt"], "reference": row["reference"]}
            | {role: answers[number]["text"] for role, answers in self.answers.items()}
            for number, row in enumerate(rows)
        ]

    def trimmed_mass(self, student: nn.Module) -> list[str]:
        """How much probability the models give to head rows that take no part, on some held-out text."""
        teachers = [("teacher", each.model) for each in self.teacher.members] if self.teacher else []
        notes = []
        for role, model in [("student", student), *teachers]:
            asked = paper(self.prepared, role)
            ours, theirs = sides(self.prepared.train)
            dataset = asked.dataset or (theirs if role == "teacher" and theirs else ours)
            items = [dataset[index] for index in range(min(8, len(dataset)))]
            device = next(model.parameters()).device
            inputs = {name: value.to(device) for name, value in asked.collator(items).items()}
            side = Batch.from_inputs(inputs).student
            with torch.no_grad():
                signals = capture(model, side, (FinalHidden(), Head()))
            head, shared = signals[Head()], asked.vocabulary.size
            if head.weight.shape[0] == shared:
                continue
            mass = float(tail_mass(signals[FinalHidden()][side.predicts], head, shared).mean())
            notes.append(
                f"Trimming {head.weight.shape[0] - shared} rows of the {role}'s head removed "
                f"{100 * mass:.2g} % of its probability on {len(items)} samples."
            )
        return notes

    def _marks(
        self, model: nn.Module, role: str, title: str, metrics: list[str], teacher: Live | None
    ) -> dict[str, float]:
        prompts = paper(self.prepared, role).prompts
        if not metrics and not prompts:
            return {}
        with self.display.task(title) as advance:
            values, self.answers[role] = self._evaluate(
                role, model, metrics, teacher, prompts, lambda part, done, total: advance(done, total, part)
            )
            shown = (
                (name, values[name]) for name in ("perplexity", "agreement", "rouge_l") if name in values
            )
            advance(1, 1, " · ".join(f"{name} {value:.3g}" for name, value in shown))
        return values

    def _evaluate(
        self,
        role: str,
        model: nn.Module | EnsembleTeacher,
        metrics: list[str],
        teacher: Live | None,
        prompts: list[PromptItem],
        progress: Any,
    ) -> tuple[dict[str, float], list[dict[str, str]]]:
        asked = paper(self.prepared, role)
        return evaluate_model(
            model,
            asked.dataset,
            asked.collator,
            asked.tokenizer,
            metrics=metrics,
            prompts=prompts,
            teacher=teacher if set(metrics) & set(NEED_TEACHER) else None,
            vocab_size=asked.vocabulary.size,
            tokens=asked.vocabulary.tokens,
            batch_size=self.wishes.batch_size,
            max_new_tokens=self.wishes.max_new_tokens,
            sampling_temperature=self.wishes.sampling_temperature,
            seed=self.prepared.recipe.seed,
            progress=progress,
        )
