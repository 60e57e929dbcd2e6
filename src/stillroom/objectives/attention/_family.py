"""What objectives over attention maps share: which layers meet, and which rows of their maps are compared.

    loss = 1/L sum_l 1/H sum_h sum_t distance( row t of the student's map, row t of the teacher's )

over rows t that count, with their number as count. The means over L pairs of layers and H heads keep the meaning of
a weight at any depth and width. Rows are compared key by key, so both models must have read the same tokens.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import QueryKey, QueryKeys, Reads, Request, Signals
from stillroom.objectives._layers import check_layers, pair_layers
from stillroom.objectives._settings import check_choice


@dataclass(frozen=True)
class Rows:
    """Of a batch `counted [B,S]`, the rows that are compared, and `real [B,S]`, the keys that exist; both bool."""

    counted: Tensor
    real: Tensor

    @property
    def weights(self) -> Tensor:
        """One for each row that counts, float32 `[B,S]`."""
        return self.counted.float()


@dataclass(eq=False, kw_only=True)
class MapObjective(Objective):
    """A distance between the maps of pairs of layers: mean over pairs and heads, summed over rows."""

    terms: ClassVar[dict[str, Unit]] = {"map": "tokens"}
    zero_at_match: ClassVar[bool] = True

    student_layers: list[int] | None = None
    """Layers that are compared, from 1; null: all of them."""
    teacher_layers: list[int] | None = None
    """Their partners in the same order; null: the layers at the same relative depth, rounded up."""
    rows: Literal["real", "response"] = "real"
    """Queries whose attention is compared: all tokens, or those that predict a trained one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("student_layers", "teacher_layers"):
            check_layers(name, getattr(self, name), first=1)
        check_choice("rows", self.rows, ("real", "response"))

    @abstractmethod
    def distance(self, number: int, student: Signals, teacher: Signals, rows: Rows) -> dict[str, Tensor]:
        """Of pair `number` the distance by term: a sum over samples and rows, a mean over heads."""

    def build(self, student: ModelShape, teacher: ModelShape) -> None:
        """Check the pair of models; `self.pairs` is known."""

    def reads(self) -> tuple[list[type[Request]], list[type[Request]]]:
        """What is asked of every compared layer: of the student, and of the teacher."""
        return [QueryKey], [QueryKey]

    def choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        """The pairs of layers that are compared."""
        return pair_layers(self.student_layers, self.teacher_layers, deep, teacher_deep, first=1)

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        if student.vocabulary != teacher.vocabulary:
            raise BadInput(
                f"{self.name} compares attention token by token and needs one tokenizer, but the student has "
                f"{student.vocabulary} and the teacher {teacher.vocabulary}: choose a cross-tokenizer objective"
            )
        for role, shape in (("student", student), ("teacher", teacher)):
            if not shape.num_heads:
                raise BadInput(
                    f"{self.name} compares attention, and the {role} ({shape.model_type}) has none: choose objectives "
                    "on logits or hidden states"
                )
        self.pairs = self.choose(student.num_layers, teacher.num_layers)
        self.build(student, teacher)
        ours, theirs = zip(*self.pairs, strict=True)
        kinds, teacher_kinds = self.reads()
        return Reads(student=_requests(kinds, ours), teacher=_requests(teacher_kinds, theirs))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        self._check_text(batch)
        rows, counts = self._rows(batch), self.counts(batch)
        # half precision would round scores before they are compared
        with torch.autocast(rows.counted.device.type, enabled=False):
            found = [self.distance(number, student, teacher, rows) for number in range(len(self.pairs))]
        totals = {term: torch.stack([each[term].float() for each in found]).mean() for term in self.terms}
        return {term: Loss(total, counts[term], self.terms[term]) for term, total in totals.items()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return dict.fromkeys(self.terms, self._rows(batch).counted.sum())

    @property
    def name(self) -> str:
        return f"attention.{type(self).__module__.rpartition('.')[2]}"

    def _rows(self, batch: Batch) -> Rows:
        """A sample in which nothing is trained on does not count, whatever it holds."""
        side, predicts = batch.student, batch.student.predicts
        real = side.attention_mask.bool()
        return Rows(predicts if self.rows == "response" else real & predicts.any(dim=1, keepdim=True), real)

    def _check_text(self, batch: Batch) -> None:
        if batch.teacher is batch.student:
            return
        sides = (batch.student, batch.teacher)
        ours, theirs = (side.input_ids.where(side.attention_mask.bool(), -1) for side in sides)
        if not torch.equal(ours, theirs):
            raise BadInput(
                f"{self.name} compares attention token by token, but student and teacher read different tokens: "
                "give both the same prompt and template"
            )


def check_equal_heads(name: str, ours: int, theirs: int, instead: str) -> None:
    """Maps that are compared head by head need as many on both sides; `instead` says what does not."""
    if ours != theirs:
        raise BadInput(
            f"{name} compares head by head and needs as many heads on both sides, but the student has {ours} and "
            f"the teacher {theirs}: {instead}"
        )


def shared_window(ours: QueryKeys, theirs: QueryKeys) -> int | None:
    """The smaller window: maps are compared over keys that both models can see, renormalized."""
    return min((each.window for each in (ours, theirs) if each.window is not None), default=None)


def _requests(kinds: list[type[Request]], layers: tuple[int, ...]) -> tuple[Request, ...]:
    return tuple(dict.fromkeys(kind(layer) for layer in layers for kind in kinds))  # type: ignore[call-arg]
