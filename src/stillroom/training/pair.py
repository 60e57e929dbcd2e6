"""The module a trainer wraps: the student and every trainable part of the objectives, in one forward.

Gradients of parts that are used outside the wrapped forward are not synchronized between ranks (or crash DDP), so
everything that needs gradients happens in here. The teacher is never a sub-module: it would be counted, saved,
wrapped and switched to training mode.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Reads, Request, Signals
from stillroom.taps.capture import capture


class Pair(nn.Module):
    """Student and objectives. `objectives` maps a unique name to an objective; `weights` to its weight; `rates` to the
    learning rate of what it trains, where that is not the student's."""

    def __init__(
        self,
        student: nn.Module,
        objectives: Mapping[str, Objective],
        weights: Mapping[str, float],
        student_shape: ModelShape,
        teacher_shape: ModelShape | None,
        rates: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.names = list(objectives)
        self.parts = nn.ModuleList(objectives.values())
        self.weights = {name: float(weights[name]) for name in self.names}
        self.rates = {name: float(rate) for name, rate in (rates or {}).items()}
        self.student_shape = student_shape
        # An objective that reads nothing of the teacher may be set up without one; it is given the student's shape.
        reads = [each.setup(student_shape, teacher_shape or student_shape) for each in objectives.values()]
        self.student_requests = _union(each.student for each in reads)
        self.teacher_requests = _union(each.teacher for each in reads)
        self._require_teacher(reads, teacher_shape)

    def _require_teacher(self, reads: list[Reads], teacher_shape: ModelShape | None) -> None:
        asking = [name for name, each in zip(self.names, reads, strict=True) if each.teacher]
        if teacher_shape is None and asking:
            raise ValueError(f"{', '.join(asking)} read signals of a teacher, and none was given")

    @property
    def objectives(self) -> dict[str, Objective]:
        return dict(zip(self.names, self.parts, strict=True))  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[str, Any], teacher: Signals) -> dict[str, Tensor]:
        """One pass of the student and every comparison: the total of each term, by "objective/term"."""
        batch = Batch.from_inputs(inputs)
        signals = capture(
            self.student, batch.student, self.student_requests, vocab_size=self.student_shape.vocab_size
        )
        losses: dict[str, Loss] = {}
        for name, objective in self.objectives.items():
            terms = objective(signals, teacher, batch)
            losses |= {f"{name}/{term}": loss for term, loss in terms.items()}
        return {key: loss.total for key, loss in losses.items()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Counts of every term by the same keys, known before any forward pass."""
        return {
            f"{name}/{term}": count
            for name, objective in self.objectives.items()
            for term, count in objective.counts(batch).items()
        }

    def factors(self) -> dict[str, float]:
        """Weight of every term in the total: the objective's weight times the term's."""
        return {
            f"{name}/{term}": self.weights[name] * objective.term_weights().get(term, 1.0)
            for name, objective in self.objectives.items()
            for term in objective.terms
        }

    def own_rates(self) -> dict[str, float]:
        """Learning rate of every trained parameter that has one of its own, by its name in here."""
        return {
            f"parts.{number}.{parameter}": self.rates[name]
            for number, (name, objective) in enumerate(self.objectives.items())
            if name in self.rates
            for parameter, each in objective.named_parameters()
            if each.requires_grad
        }

    def counted_by_step(self) -> set[str]:
        """The terms whose count is one whatever the batch holds."""
        return {
            f"{name}/{term}"
            for name, objective in self.objectives.items()
            for term, unit in objective.terms.items()
            if unit == "step"
        }

    def get_input_embeddings(self) -> nn.Module:
        """Called by the Trainer for `neftune_noise_alpha`."""
        return self.student.get_input_embeddings()  # type: ignore[operator]

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: dict | None = None, **settings: Any
    ) -> None:
        """Called by the Trainer. Re-entrant checkpointing would detach recorded signals, so it is never used."""
        inner = {**(activation_checkpointing_kwargs or {}), "use_reentrant": False}
        self.student.activation_checkpointing_enable(activation_checkpointing_kwargs=inner, **settings)  # type: ignore[operator]
        # With frozen embeddings (LoRA) no input of a checkpointed block would require grad.
        self.student.enable_input_require_grads()  # type: ignore[operator]


def _union(requests: Iterable[tuple[Request, ...]]) -> tuple[Request, ...]:
    return tuple(dict.fromkeys(request for each in requests for request in each))
