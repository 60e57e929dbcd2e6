"""SRA: pieces of text that both tokenizers cut out, each one as the center of mass of its tokens' states.

    C_k = sum_{t in k} a_t H_t / sum_{t in k} a_t      a_t: attention that the last token of the row pays to t
    w_k ~ (sum_{t in k} a_t)^p of the teacher          sums to one over the spans of a sample

    cosine     sum_l lambda_l sum_k w_k ( 1 - cos(P_l S_k, T_k) )         S, T: centers of student and teacher
    geometry   sum_{i != j} pi_ij ( cos(S_i, S_j) - cos(T_i, T_j) )^2     last pair of layers; pi_ij ~ w_i w_j
    logits     sum_k KL( softmax(z_k / T) || softmax(s_k / T) )           both heads on the centers of the last layers,
                                                                          over tokens that both vocabularies have

Paper:    SRA: Span Representation Alignment (2026, arXiv 2605.01205). Only its abstract was at hand: formulas, weights
          and layers are those of the public program (wind123mountain/SRE), by its scripts
Differs:  spans end where both tokenizers end a token, in bytes: in the program in characters, which cuts letters of
          several tokens. a_t is the attention of the last real token: there of the last column, which is padding in all
          but the longest samples. Last states are read after the final norm: there the student's are read before it,
          and its head too reads those (`norm: teacher`). `logits` is a mean over spans: there it is the sum of each
          sample, so that it weighs as much as all its spans, some eighty, and more in long ones (`logits_over:
          sequences`). Tokens are shared where their bytes are: there their names. Spans of little attention are divided
          by their own: there by 1e-5 at least, which shrinks their centers. Those of none have no center, and `logits`
          has the others of the sample stand in for them: there zeros are compared. P_l has no bias and starts
          orthogonal: there it has one, starts so only if asked, and is not applied. The program also computes
          `der_loss`, and never adds it: left out
Beware:   a span is mostly one token. No head was trained to read the center of several: `logits` is what it happens to
          make of them. P_l is trained on its own loss: compare measure/control
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Head, Hidden, Reads, Request, Signals
from stillroom.numerics.divergence import DIVERGENCES
from stillroom.objectives._layers import check_layers, pair_layers
from stillroom.objectives._settings import check_choice, check_flag, check_number
from stillroom.objectives._two_vocabularies import shared_tokens
from stillroom.objectives.span._coverage import coverage
from stillroom.objectives.span._distance import control, distance
from stillroom.objectives.span._levels import Level, Rows, level
from stillroom.objectives.span._pooling import masses
from stillroom.objectives.span._projectors import projectors
from stillroom.objectives.span._relations import relational
from stillroom.objectives.span._shared_head import shared_divergence
from stillroom.objectives.span._states import state
from stillroom.objectives.span._token_weights import Kind as Weights
from stillroom.objectives.span._token_weights import token_weights, uniform, weighed_by
from stillroom.objectives.span._units import Units, units_of_batch

WEIGHTS: tuple[Weights, ...] = ("attention", "centrality", "uniform")
CHOICES = {
    "spans": ("chunks", "words", "phrases"),
    "pool_weights": WEIGHTS,
    "loss_weights": WEIGHTS,
    "projector": ("trained", "frozen", "none"),
    "norm": ("both", "teacher"),
    "divergence": tuple(DIVERGENCES),
    "logits_over": ("spans", "sequences"),
}
INTERVALS = {
    "power": "[0, inf)",
    "temperature": "(0, inf)",
    "cosine_weight": "[0, inf)",
    "geometry_weight": "[0, inf)",
    "logits_weight": "[0, inf)",
}


@dataclass(eq=False, kw_only=True)
class SRA(Objective):
    """Cosines and geometry of the centers of spans, and what both heads make of them."""

    two_vocabularies: ClassVar[bool] = True

    student_layers: list[int] | None = None
    """Layers that are compared, from 1; null: the last two (or the only one)."""
    teacher_layers: list[int] | None = None
    """Their partners in the same order; null: the layers at the same relative depth, rounded up."""
    layer_weights: list[float] | None = None
    """What each pair of layers weighs in `cosine`, over their sum; null: all the same."""
    spans: Literal["chunks", "words", "phrases"] = "chunks"
    """Pieces that both tokenizers cut out, as published, or words or phrases of the text (see data.spans)."""
    max_spans: int | None = 1024
    """Where a response has more, neighbors are merged, evenly; null: never."""
    pool_weights: Literal["attention", "centrality", "uniform"] = "attention"
    """What tokens weigh in the center of their span: the attention that the last token of the sequence pays to them in
    that layer, their centrality among the tokens of the response (see span.mta), or all the same."""
    loss_weights: Literal["attention", "centrality", "uniform"] = "attention"
    """What spans weigh in `cosine` and `geometry`: what their tokens weigh in the teacher, or all the same."""
    power: float = 1.0
    """Exponent of that weight; 0: all spans with any weigh the same."""
    projector: Literal["trained", "frozen", "none"] = "trained"
    """Orthogonal map from the student's width to the teacher's in `cosine`, where `trained` only at the start. `none`
    needs equal widths."""
    norm: Literal["both", "teacher"] = "both"
    """Whose last state is read after the final norm."""
    divergence: str = "forward_kl"
    """Of `logits`: any of `stillroom.numerics.divergence`, with its default settings."""
    temperature: float = 2.0
    """Divides the logits of both models."""
    scale_by_temperature_squared: bool = False
    """Multiply `logits` by the square of the temperature, so that gradients keep their size as it grows."""
    logits_over: Literal["spans", "sequences"] = "spans"
    """Mean over spans, or sum over the spans of a sample and mean over samples."""
    cosine_weight: float = 1.0
    """Weight of `cosine`; 0 leaves it and P out."""
    geometry_weight: float = 50.0
    """Weight of `geometry`; 0 leaves it out."""
    logits_weight: float = 1.0
    """Weight of `logits`; 0 leaves them out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("student_layers", "teacher_layers"):
            check_layers(name, getattr(self, name), first=1)
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name, interval in INTERVALS.items():
            check_number(name, getattr(self, name), interval)
        check_flag("scale_by_temperature_squared", self.scale_by_temperature_squared)
        if self.max_spans is not None and (type(self.max_spans) is not int or self.max_spans < 1):
            raise BadInput(f"max_spans must be a whole number of at least 1, or null, got {self.max_spans!r}")
        self._check_layer_weights()
        found: dict[str, Unit] = {"cosine": "sequences", "geometry": "sequences", "logits": self.logits_over}
        self.terms = {term: unit for term, unit in found.items() if self._weight(term)}  # type: ignore[misc]
        if not self.terms:
            raise BadInput(
                "span.sra has no term left: set one of cosine_weight, geometry_weight, logits_weight"
            )
        self.units = () if self.spans == "chunks" else (self.spans,)  # type: ignore[misc]
        matches = self.projector == "none" or "cosine" not in self.terms
        self.zero_at_match = matches and self.norm == "both"  # type: ignore[misc]

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        self._check_pair(student, teacher)
        self.depths = student.num_layers, teacher.num_layers
        self.pairs = self._choose(*self.depths)
        if "cosine" in self.terms:
            self.projectors = projectors(self.projector, student.width, teacher.width, len(self.pairs))
        if "logits" in self.terms:
            self.shared = shared_tokens(student, teacher, "span.sra")
        self._one_vocabulary = student.vocabulary == teacher.vocabulary
        self._last: list[Rows] = []
        self._last_units: tuple[Units, Side] | None = None
        return self._reads()

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return self._counts(units_of_batch(batch, self.spans, self.max_spans))

    def term_weights(self) -> dict[str, float]:
        return {term: self._weight(term) for term in self.terms}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        units = units_of_batch(batch, self.spans, self.max_spans)
        if self.training:
            self._last_units = units, batch.student
        found = {pair: self._level(student, teacher, batch, pair, units) for pair in self._used()}
        totals: dict[str, Tensor] = {}
        if "cosine" in self.terms:
            totals["cosine"] = self._cosine([found[pair].rows(units.exists) for pair in self.pairs])
        if "geometry" in self.terms:
            totals["geometry"] = relational(*found[self.pairs[-1]]).sum()
        if "logits" in self.terms:
            totals["logits"] = self._logits(student, teacher, found[self.depths], units)
        counts = self._counts(units)
        return {term: Loss(total, counts[term], self.terms[term]) for term, total in totals.items()}

    def measures(self) -> dict[str, float]:
        """Of the last batch: how many spans a sequence has, how many tokens of the student a span, which share of the
        trained tokens lies in one; `control`: what `cosine` would be, had the centers been those of other spans."""
        found = {} if self._last_units is None else coverage(*self._last_units, self.spans)
        if self._last and len(self._last[0].ours) > 1:
            parts = zip(self._layer_shares(), self._last, self.projectors, strict=True)
            found["control"] = sum(share * control(rows, project) for share, rows, project in parts)
        return found

    def notes(self) -> list[str]:
        notes = []
        if "cosine" in self.terms and self.projector == "trained":
            notes.append(
                "The projector of span.sra is trained on the loss that it carries: it falls for a student that learns "
                "nothing (compare measure/control, the same loss against other spans)."
            )
        if self.spans == "chunks" and self._one_vocabulary:
            notes.append(
                "With one tokenizer every span of span.sra is one token: set spans: words or phrases for larger ones."
            )
        if "logits" in self.terms and not self._one_vocabulary:
            notes.append(
                f"The vocabularies share {len(self.shared)} tokens, of {len(self.shared.to_teacher)} of the student "
                f"and {len(self.shared.to_student)} of the teacher: span.sra leaves all others out of logits."
            )
        return notes

    def _level(
        self, student: Signals, teacher: Signals, batch: Batch, pair: tuple[int, int], units: Units
    ) -> Level:
        layer, partner = pair
        ours, theirs = student[self._student_state(layer)], teacher[state(partner, self.depths[1])]
        given = {
            kind: token_weights(kind, teacher, partner, theirs, batch.teacher)
            for kind in {self.pool_weights, self.loss_weights}
        }
        own = token_weights(self.pool_weights, student, layer, ours, batch.student)
        weights = None if self.loss_weights == "uniform" else self._matter(given[self.loss_weights], units)
        return level((ours, theirs), (own, given[self.pool_weights]), units, weights)

    def _matter(self, tokens: Tensor, units: Units) -> Tensor:
        """What spans weigh, `[B,K]`, by what the teacher's tokens do, `[B,T]`."""
        mass = masses(tokens, units.teacher, units.exists.shape[1])
        largest = mass.amax(dim=1, keepdim=True)  # sets no share, but keeps high powers from being zero
        return (mass / largest.where(largest > 0, 1)).pow(self.power).where(mass > 0, 0)

    def _cosine(self, spans: list[Rows]) -> Tensor:
        if self.training and self.projector == "trained":
            self._last = [each.some() for each in spans]
        parts = zip(self._layer_shares(), spans, self.projectors, strict=True)
        return torch.stack([share * distance(rows, project) for share, rows, project in parts]).sum()

    def _logits(self, student: Signals, teacher: Signals, last: Level, units: Units) -> Tensor:
        # a span that nothing attends to (its layer may see a window alone) is counted: the others stand in for it
        weights = uniform(last.centered) * units.counts[:, None]
        rows = last.rows(units.exists)
        total = shared_divergence(
            rows.ours,
            student[Head()],
            rows.theirs,
            teacher[Head()],
            self.shared,
            divergence=self.divergence,
            temperature=self.temperature,
            weights=weights[units.exists],
        )
        return total * self.temperature**2 if self.scale_by_temperature_squared else total

    def _counts(self, units: Units) -> dict[str, Tensor]:
        spans = units.counts
        known = {"cosine": (spans >= 1).sum(), "geometry": (spans >= 2).sum()}
        known["logits"] = spans.sum() if self.logits_over == "spans" else known["cosine"]
        return {term: known[term] for term in self.terms}

    def _used(self) -> list[tuple[int, int]]:
        """Pairs of layers whose centers are read: the heads always read the last ones."""
        of_term = {"cosine": self.pairs, "geometry": self.pairs[-1:], "logits": [self.depths]}
        return list(dict.fromkeys(pair for term in self.terms for pair in of_term[term]))

    def _reads(self) -> Reads:
        student: list[Request] = []
        teacher: list[Request] = []
        for layer, partner in self._used():
            student.append(self._student_state(layer))
            teacher.append(state(partner, self.depths[1]))
            student += weighed_by(self.pool_weights, layer)
            teacher += weighed_by(self.pool_weights, partner) + weighed_by(self.loss_weights, partner)
        heads = [Head()] * ("logits" in self.terms)
        return Reads(tuple(dict.fromkeys(student + heads)), tuple(dict.fromkeys(teacher + heads)))

    def _student_state(self, layer: int) -> Request:
        return state(layer, self.depths[0]) if self.norm == "both" else Hidden(layer)

    def _layer_shares(self) -> list[float]:
        weights = self.layer_weights or [1.0] * len(self.pairs)
        return [each / sum(weights) for each in weights]

    def _weight(self, term: str) -> float:
        return getattr(self, f"{term}_weight")

    def _check_layer_weights(self) -> None:
        weights = self.layer_weights
        if weights is None:
            return
        if not isinstance(weights, list) or not weights:
            raise BadInput(
                f"layer_weights must be a list of numbers, one for each pair of layers, got {weights!r}"
            )
        for each in weights:
            check_number("layer_weights", each, "[0, inf)")
        if not sum(weights) > 0:
            raise BadInput(f"layer_weights must not all be 0, got {weights!r}: set cosine_weight: 0 instead")

    def _choose(self, deep: int, teacher_deep: int) -> list[tuple[int, int]]:
        ours = self.student_layers or [layer for layer in (deep - 1, deep) if layer > 0]
        pairs = pair_layers(ours, self.teacher_layers, deep, teacher_deep, first=1)
        if self.layer_weights is not None and len(self.layer_weights) != len(pairs):
            raise BadInput(
                f"layer_weights must hold one weight for each of the {len(pairs)} pairs of layers, got "
                f"{self.layer_weights}"
            )
        return pairs

    def _check_pair(self, student: ModelShape, teacher: ModelShape) -> None:
        readers = {"student": [self.pool_weights], "teacher": [self.pool_weights, self.loss_weights]}
        for role, shape in (("student", student), ("teacher", teacher)):
            if "attention" in readers[role] and not shape.num_heads:
                raise BadInput(
                    f"span.sra weighs tokens by attention, and the {role} ({shape.model_type}) has none: set "
                    "pool_weights: uniform and loss_weights: uniform"
                )
