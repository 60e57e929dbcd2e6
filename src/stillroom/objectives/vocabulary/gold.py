"""GOLD: what two models say of pieces of text with the same bytes, some tokens compared by name and the others by rank.

    w D( a P, b Q over tokens of the same bytes ) + (1 - w) sum_r | a P_(r) - b Q_(r) |  over all other tokens, sorted
    D(x, y) = sum_v  beta x log(x / m) + (1 - beta) y log(y / m),   m = beta x + (1 - beta) y

over minimal pieces of the response which both tokenizers cut out. P and Q are next-token distributions at one position
of the piece, a and b the probabilities that the models give to its other tokens as they stand in the text. Nothing is
renormalized: D is taken of measures, where no part of it is negative for 0 < beta < 1. At beta 0 and 1, where a KL of
measures may be negative, the difference of their masses is added; of whole distributions it is nothing. The gradient
flows through b too: D sees b Q, and its slope in log b is the sum of its slopes in log b Q(v).

`merge` says which tokens make a and b:

    bayesian    P and Q predict the last token of the piece, a and b are of the tokens before it: by the chain rule
                a P(v) is the probability of the piece with v as its last token
    observed    P and Q predict the first token, a and b are of those behind it: for any other first token a product of
                nothing that was read, but both models have read the same bytes where P and Q are compared
    none        only pieces of one token on each side: a = b = 1

Paper:    Patino et al. (2025), Unlocking On-Policy Distillation for Any Model Family (GOLD), and its code in TRL
Differs:  - TRL's `observed` reads every distribution one position late (what predicts token k+1 is multiplied as if it
            predicted token k); here every distribution is the one that predicts its token
          - tokens are matched by bytes, not by strings, and end tokens by role; the response ends with one
          - a and b are sums of logarithms, without a floor of 1e-8 for each token
          - where one side only has unmatched tokens, their mass counts; TRL leaves it out
          - a mean over all pieces of a batch; TRL takes one over each response first. Hard labels are apart
Beware:   in a piece of several tokens the last ones never begin at the same byte (it would be two pieces), so
          `bayesian` compares by name tokens that continue different texts; `none` leaves such pieces out.
          Adaptive weights are shares of the vocabulary, not of what is said: rare tokens weigh like common ones
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stillroom.alignment.positions import Pairs
from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, Reads, Signals
from stillroom.numerics.divergence import jensen_shannon
from stillroom.numerics.sorted_distance import sorted_distance
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.vocabulary._chunk_likelihoods import chunk_likelihoods
from stillroom.objectives.vocabulary._chunks import ChunkTokens, ScoredChunks, scored_chunks
from stillroom.objectives.vocabulary._family import VocabularyObjective

ROWS_AT_ONCE = 64
"""Merged pieces whose logits are held at a time: few pieces are merged, and each has its own a and b."""


@dataclass(eq=False, kw_only=True)
class GOLD(VocabularyObjective):
    """Jensen-Shannon divergence on matched tokens and sorted distance on the others, over pieces of the same bytes."""

    terms: ClassVar[dict[str, Unit]] = {"hybrid": "spans"}

    merge: Literal["bayesian", "observed", "none"] = "bayesian"
    """Which tokens of a piece are taken as they stand: those before the last, those behind the first, or none (pieces
    of several tokens are left out)."""
    beta: float = 0.5
    """Weight of the teacher in the mixture, in [0, 1]; 0 is forward KL and 1 reverse KL."""
    matched_weight: float | None = None
    """Weight of tokens that both have; null: the share of the teacher's tokens that are matched."""
    unmatched_weight: float | None = None
    """Weight of all other tokens; null: the share of the teacher's tokens that are not. Give both weights or none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("merge", self.merge, ("bayesian", "observed", "none"))
        check_number("beta", self.beta, "[0, 1]")
        if (self.matched_weight is None) != (self.unmatched_weight is None):
            raise BadInput(
                "matched_weight and unmatched_weight belong together, got "
                f"{self.matched_weight!r} and {self.unmatched_weight!r}: give both, or neither to take shares of the "
                "vocabulary"
            )
        for name in ("matched_weight", "unmatched_weight"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), "[0, inf)")

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        reads = super().setup(student, teacher)
        share = len(self.shared) / teacher.vocab_size
        self._weights = (share, 1 - share)
        if self.matched_weight is not None and self.unmatched_weight is not None:
            self._weights = (self.matched_weight, self.unmatched_weight)
        self._single, self._scored = torch.zeros(()), 0
        return reads

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"hybrid": self._compared(scored_chunks(batch, self.shared.spaces_differ)).sum()}

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        pieces = scored_chunks(batch, self.shared.spaces_differ)
        compared, alone = self._compared(pieces), pieces.single
        self._single, self._scored = alone.sum(), len(alone)
        total = self.compare(student, teacher, self._places(pieces, alone), self._hybrid)
        if self.merge != "none":
            total = total + self._merged_total(student, teacher, batch, pieces, ~alone)
        return {"hybrid": Loss(total, compared.sum(), "spans")}

    def notes(self) -> list[str]:
        matched, unmatched = self._weights
        return [
            f"{len(self.shared)} of the teacher's {len(self.shared.to_student)} tokens are compared by name with "
            f"weight {matched:.3g}, all others by rank with weight {unmatched:.3g}."
        ]

    def measures(self) -> dict[str, float]:
        """Of the last batch: the share of the pieces that are one token on both sides."""
        return {"single": int(self._single) / self._scored} if self._scored else {}

    def _compared(self, pieces: ScoredChunks) -> Tensor:
        """`[K]` bool."""
        return pieces.single if self.merge == "none" else torch.ones_like(pieces.single)

    def _places(self, pieces: ScoredChunks, chosen: Tensor) -> Pairs:
        """Where the chosen pieces have the distributions that are compared."""
        ours, theirs = self._kept(pieces.student)[chosen], self._kept(pieces.teacher)[chosen]
        return Pairs(pieces.rows[chosen], pieces.student.positions[ours], pieces.teacher.positions[theirs])

    def _kept(self, tokens: ChunkTokens) -> Tensor:
        """The token of every piece whose whole distribution is compared, by its number, `[K]`."""
        return tokens.first if self.merge == "observed" else tokens.last

    def _hybrid(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """Logarithms of measures over both vocabularies, `[n,W]` and `[n,V]`, to `[n]`."""
        theirs, ours = log_p.index_select(1, self.shared.teacher), log_q.index_select(1, self.shared.student)
        matched = jensen_shannon(theirs, ours, self.beta)
        if self.beta in (0, 1):
            surplus = ours.exp().sum(dim=-1) - theirs.exp().sum(dim=-1)
            matched = matched + (surplus if self.beta == 0 else -surplus)
        others = log_p.index_select(1, self.teacher_only), log_q.index_select(1, self.student_only)
        return self._weights[0] * matched + self._weights[1] * sorted_distance(*others)

    def _merged_total(
        self, student: Signals, teacher: Signals, batch: Batch, pieces: ScoredChunks, chosen: Tensor
    ) -> Tensor:
        """Sum over chosen pieces, a scalar: no kernel takes a factor for every row of each side."""
        places = self._places(pieces, chosen)
        with torch.no_grad():
            log_a = self._others(teacher, batch.teacher, pieces.teacher)[chosen]
        log_b = self._others(student, batch.student, pieces.student)[chosen]
        heads = student[Head()], teacher[Head()]
        states = (
            student[FinalHidden()][places.rows, places.student],
            teacher[FinalHidden()][places.rows, places.teacher],
        )

        def of_rows(ours: Tensor, theirs: Tensor, log_b: Tensor, log_a: Tensor) -> Tensor:
            with torch.no_grad():
                log_p = self._log_softmax(heads[1](theirs)) + log_a[:, None]
            log_q = self._log_softmax(heads[0](ours)) + log_b[:, None]
            return self._hybrid(log_p, log_q).sum()

        total = log_b.new_zeros(())
        for block in zip(*(each.split(ROWS_AT_ONCE) for each in (*states, log_b, log_a)), strict=True):
            total = total + checkpoint(of_rows, *block, use_reentrant=False, preserve_rng_state=False)
        return total

    def _log_softmax(self, logits: Tensor) -> Tensor:
        full = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return (full / self.temperature).log_softmax(dim=-1)

    def _others(self, signals: Signals, side: Side, tokens: ChunkTokens) -> Tensor:
        """Log-probability of all tokens but the kept one, of every piece: `[K]` float32."""
        asked = torch.ones_like(tokens.chunks, dtype=torch.bool)
        asked[self._kept(tokens)] = False
        return chunk_likelihoods(signals, side, tokens, asked, self.temperature)
