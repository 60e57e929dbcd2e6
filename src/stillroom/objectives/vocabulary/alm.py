"""ALM: both models say how likely every piece of the text is, and that is compared; no vocabulary is.

    l(c) = 1/T log P(chunk c) - eps          and l_Q(c) of the student; chunks have the same bytes on both sides
    f(c) = e^l (l - l_Q) + (1 - e^l) ( log(1 - e^l) - log(1 - e^l_Q) )        (binary_kl)
    loss = T sum_c f(c)

A chunk happens or does not: two outcomes, and their KL. As T grows, T f tends to b - a + a log(a / b) with the
surprisals a = -log P and b = -log Q: so a single token that the teacher finds hopeless keeps its pull, where at T = 1
its e^l is nothing and so is what it teaches.

`debias`: tokens of the two sides that end at the same byte do not say the same, for one of them may exclude what
follows ("h" in a vocabulary that has "he"). So log P(a word ends here) is added at the end of every chunk: of all
tokens that begin with a space, tab or line end, and of special ones. `merge_threshold`: where the teacher gives that
less probability, the chunk is merged with the next.

Paper:    Minixhofer et al. 2025, Universal Cross-Tokenizer Distillation via Approximate Likelihood Matching
          (2503.20083), as its program tokenkit has it: T = 100, eps = 1e-6, threshold 0.1, both corrections on
Differs:  the teacher's entropy is subtracted, so that the loss is zero at match: gradients are those of the published
          cross-entropy. Times T (`scale_by_temperature`), since the program evens out its losses by the size of their
          gradients (GradMag), which weights must do here. What merging leaves of a sample is averaged and counts as
          many chunks as there were before: the teacher decides what is merged, and counts are the batch's. A sample's
          last chunk is not corrected: nothing after it is predicted. The distance of hidden states at chunk ends,
          which its authors advise for self-distillation, is left to hidden.*
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.objectives._settings import check_choice, check_flag, check_number
from stillroom.objectives.vocabulary._chunk_likelihoods import (
    begins_a_word,
    break_likelihoods,
    chunk_likelihoods,
)
from stillroom.objectives.vocabulary._chunks import ChunkTokens, ScoredChunks, scored_chunks
from stillroom.objectives.vocabulary._merged_chunks import merged

EPS = 1e-6


@dataclass(eq=False, kw_only=True)
class ALM(Objective):
    """Difference of the likelihoods of shared chunks, summed over chunks."""

    terms: ClassVar[dict[str, Unit]] = {"likelihood": "spans"}
    two_vocabularies: ClassVar[bool] = True
    zero_at_match: ClassVar[bool] = True

    difference: str = "binary_kl"
    """binary_kl, reverse_binary_kl, absolute (of log-probabilities), absolute_probability, or limit: binary_kl as the
    temperature grows without end."""
    temperature: float = 100.0
    """Divides the log-probabilities of both models."""
    scale_by_temperature: bool = True
    """Multiply by the temperature, so that the loss keeps its size as it grows; false as published."""
    debias: bool = True
    """Add to every chunk how likely a word ends behind it. With one vocabulary there is nothing to correct."""
    merge_threshold: float | None = 0.1
    """Merge a chunk with the next where the teacher finds it less likely than this that a word ends there; null: never.
    With one vocabulary nothing is merged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("difference", self.difference, list(DIFFERENCES))
        check_number("temperature", self.temperature, "(0, inf)")
        check_flag("scale_by_temperature", self.scale_by_temperature)
        check_flag("debias", self.debias)
        if self.merge_threshold is not None:
            check_number("merge_threshold", self.merge_threshold, "(0, 1)")

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        corrected = self.debias or self.merge_threshold is not None
        self._corrects = corrected and student.vocabulary != teacher.vocabulary
        for name, shape in (("student", student), ("teacher", teacher)):
            begins = self._begins(name, shape) if self._corrects else torch.zeros(0, dtype=torch.bool)
            self.register_buffer(f"{name}_begins", begins, persistent=False)
        self._merged = 1.0
        return Reads(student=(FinalHidden(), Head()), teacher=(FinalHidden(), Head()))

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        rows = scored_chunks(batch).rows
        return {"likelihood": torch.tensor(len(rows), device=rows.device)}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        chunks = scored_chunks(batch)
        ours = chunk_likelihoods(student, batch.student, chunks.student)
        with torch.no_grad():
            theirs = chunk_likelihoods(teacher, batch.teacher, chunks.teacher)
        weights = torch.ones_like(theirs)
        if self._corrects:
            ours, theirs, weights = self._corrected(student, teacher, batch, chunks, ours, theirs)
        log_p, log_q = (each.clamp(max=0) / self.temperature - EPS for each in (theirs, ours))
        total = (weights * DIFFERENCES[self.difference](log_p, log_q)).sum()
        if self.scale_by_temperature:
            total = total * self.temperature
        return {"likelihood": Loss(total, torch.tensor(len(chunks.rows), device=total.device), "spans")}

    def measures(self) -> dict[str, float]:
        """`chunks_in_a_span`: how many chunks of the last batch were merged into one, on average."""
        return {"chunks_in_a_span": self._merged}

    def _corrected(
        self,
        student: Signals,
        teacher: Signals,
        batch: Batch,
        chunks: ScoredChunks,
        ours: Tensor,
        theirs: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of spans by the student and by the teacher, and what every span weighs: `[M]` each."""
        behind, beyond = _last(chunks.student), _last(chunks.teacher)
        followed = batch.student.predicts[behind] & batch.teacher.predicts[beyond]
        with torch.no_grad():
            breaks = break_likelihoods(teacher, beyond, followed, self.teacher_begins)
        spans = merged(chunks.rows, breaks, self.merge_threshold or 0.0)
        self._merged = len(chunks.rows) / max(1, len(spans.ends))
        ours, theirs = (
            each.new_zeros(len(spans.ends)).index_add(0, spans.of, each) for each in (ours, theirs)
        )
        if self.debias:
            places = behind[0][spans.ends], behind[1][spans.ends]
            ours = ours + break_likelihoods(student, places, followed[spans.ends], self.student_begins)
            theirs = theirs + breaks[spans.ends]
        return ours, theirs, spans.weights

    def _begins(self, name: str, shape: ModelShape) -> Tensor:
        if shape.tokens is None:
            raise BadInput(
                f"vocabulary.alm must know which tokens begin a word, and those of the {name} are not known in bytes: "
                "its tokenizer has no definition (tokenizer.json); set debias: false and merge_threshold: null"
            )
        return begins_a_word(shape.tokens, shape.vocab_size)


def _last(tokens: ChunkTokens) -> tuple[Tensor, Tensor]:
    """Rows and positions of the last tokens of chunks, `[K]` each: there what follows is predicted."""
    return tokens.rows[tokens.last], tokens.positions[tokens.last] + 1


def binary_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL of two outcomes, `[n]` nats, from the log-probabilities of one of them, `[n]`, below 0."""
    rest = log_of_rest(log_p) - log_of_rest(log_q)
    return log_p.exp() * (log_p - log_q) - torch.expm1(log_p) * rest


def reverse_binary_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return binary_kl(log_q, log_p)


def absolute(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p - log_q).abs()


def absolute_probability(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() - log_q.exp()).abs()


def limit(log_p: Tensor, log_q: Tensor) -> Tensor:
    """What T binary_kl(log_p / T, log_q / T) tends to as T grows: a KL of surprisals."""
    return log_p - log_q - log_p * (log_p / log_q).log()


def log_of_rest(log_p: Tensor) -> Tensor:
    """log(1 - exp(log_p)), exact where either of the two probabilities is small."""
    half = -math.log(2)
    near, far = log_p.clamp(min=half), log_p.clamp(max=half)
    return torch.where(log_p > half, (-torch.expm1(near)).log(), torch.log1p(-far.exp()))


DIFFERENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    each.__name__: each for each in (binary_kl, reverse_binary_kl, absolute, absolute_probability, limit)
}
