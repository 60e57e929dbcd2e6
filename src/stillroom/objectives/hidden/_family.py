"""What objectives over hidden states share: which layers meet, and which rows of them are compared.

    loss = 1/L sum_l distance( s_l, h_{g(l)} )        L pairs of layers; rows of positions that predict a trained token

The mean over pairs keeps the meaning of a weight at any depth. A projection that is trained on such a loss lowers it
also for a student that learns nothing. The control tells how far: the loss of the same rows against the teacher's
rows of other tokens. What falls in both is not knowledge of the token.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Hidden, Reads, Signals
from stillroom.objectives._control import others, some
from stillroom.objectives._layers import check_layers, pair_layers
from stillroom.objectives._rows import predicting_rows


@dataclass(eq=False, kw_only=True)
class HiddenObjective(Objective):
    """A distance between the hidden states of pairs of layers, averaged over the pairs."""

    terms: ClassVar[dict[str, Unit]] = {"hidden": "tokens"}

    student_layers: list[int] | None = None
    """Layers that are aligned, from 1 (0 is the embedding); null: all blocks."""
    teacher_layers: list[int] | None = None
    """Their partners in the same order; null: the layers at the same relative depth, rounded up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("student_layers", "teacher_layers"):
            check_layers(name, getattr(self, name))

    @abstractmethod
    def distance(self, number: int, ours: Tensor, theirs: Tensor, lengths: Tensor) -> Tensor:
        """Summed distance of what `prepared` returned of pair `number`."""

    def prepared(self, ours: Tensor, theirs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared, from the rows of a pair: student's `[N,d]`, teacher's `[N,D]`, float32; nothing trained.

        Rows are in the order of samples; `lengths [B]` says how many each sample has.
        """
        return ours, theirs

    def build(self, width: int, teacher_width: int) -> None:
        """Make trainable parts, where there are any; `self.pairs` is known."""

    def choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        """The pairs of layers that are compared."""
        return pair_layers(self.student_layers, self.teacher_layers, deep, teacher_deep)

    def compared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Masks of what is compared, `[B,S]` and `[B,T]`, with equal counts in every sample."""
        return predicting_rows(batch)

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        if student.vocabulary != teacher.vocabulary:
            raise BadInput(
                f"hidden.{type(self).__module__.rpartition('.')[2]} compares position by position and needs one "
                f"tokenizer, but the student has {student.vocabulary} and the teacher {teacher.vocabulary}: choose "
                "dual_space.* instead"
            )
        self.pairs = self.choose(student.num_layers, teacher.num_layers)
        self.build(student.width, teacher.width)
        self._last: list[tuple[Tensor, Tensor]] = []
        ours, theirs = zip(*self.pairs, strict=True)
        return Reads(student=_hidden(ours), teacher=_hidden(theirs))

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        ours, theirs = self.compared(batch)
        lengths = ours.sum(dim=1)
        total, watched = torch.zeros((), device=ours.device), self.training and self._is_trained
        if watched:
            self._last = []
        for number, (layer, partner) in enumerate(self.pairs):
            state = student[Hidden(layer)][ours].float()
            target = teacher[Hidden(partner)][theirs].detach().float()
            state, target = self.prepared(state, target, lengths)
            total = total + self.distance(number, state, target, lengths)
            if watched:
                self._last.append((some(state), some(target)))
        return {"hidden": Loss(total / len(self.pairs), self.counts(batch)["hidden"], self.terms["hidden"])}

    def measures(self) -> dict[str, float]:
        """`control`: what the loss of the last batch would be, had its rows been those of other tokens."""
        if not self._last or len(self._last[0][0]) < 2:
            return {}
        with torch.no_grad():
            return {"control": sum(self._mismatched(n, *rows) for n, rows in enumerate(self._last))}

    def notes(self) -> list[str]:
        if not self._is_trained:
            return []
        return [
            "The projection is trained on the loss that it carries: it falls for a student that learns nothing "
            "(compare measure/control, the same loss against other tokens)."
        ]

    def _mismatched(self, number: int, ours: Tensor, theirs: Tensor) -> float:
        """The share of a pair in the mean distance between rows that do not belong together."""
        each = torch.ones(len(ours), dtype=torch.long, device=ours.device)
        return self.distance(number, ours, others(theirs), each).item() / len(ours) / len(self.pairs)

    @property
    def _is_trained(self) -> bool:
        return any(each.requires_grad for each in self.parameters())


def normalized(rows: Tensor) -> Tensor:
    """Rows `[N,D]` with mean zero and variance one: layer normalization without weights."""
    return functional.layer_norm(rows, rows.shape[-1:])


def full_precision(tensor: Tensor) -> torch.autocast:
    """Autocast off where `tensor` lies, for what must not be rounded to half precision between two steps."""
    return torch.autocast(tensor.device.type, enabled=False)


def _hidden(layers: tuple[int, ...]) -> tuple[Hidden, ...]:
    return tuple(Hidden(layer) for layer in dict.fromkeys(layers))
