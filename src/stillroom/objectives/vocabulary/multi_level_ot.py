"""Multi-level optimal transport: likely tokens by rank of their mass, positions compared in pairs and all with all.

    P_i, Q_i  softmax(z_i / std(z_i)) at the k tokens of most mass over all positions of the response, in that order
    token     = sum over pairs i of sum_r | P_ir - Q_ir | - `logarithm` sum_r P_ir log Q_ir
    sequence  = <plan, C>,  C_ij = sum_r | P_ir - Q_jr |,  plan: Sinkhorn, ten rounds, epsilon 0.1

std is over the vocabulary of each side. The plan spreads one unit evenly over the positions of either side.

Paper:    Cui et al. 2025 (AAAI, arXiv 2412.14528), with its public code; there hard labels have weight 1, this 1.5
Differs:  pairs are positions of equal context; published is the i-th position of either side (`positions: index`).
          Tokens are put in order by each response alone, published by a batch (`order: batch`). `costs: published` has
          the public code's logarithm: student and teacher exchanged, and softmax again over the k probabilities of
          each; and its sequence cost between softmax(P / 2) and softmax(Q / 2), which are nearly uniform. Its sequence
          term is 0.0001 times a plan that gives every position one unit, padding among them, summed over the batch:
          here a unit a response, weighed with the paper's 0.1. Its logarithm is a mean over padding, too. Its f = 2,
          which matches tokens greedily by distance, is not here
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.numerics.optimal_transport import transport_plan, uniform_mass
from stillroom.objectives._packed import packed
from stillroom.objectives._positions import count_of, paired_positions
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.vocabulary._family import VocabularyObjective

EPSILON, ROUNDS = 0.1, 10
STEADY = 1e-4
"""Added to the standard deviation of the logits."""

_AT_ONCE = 2**22
"""Logits that are held at once."""


@dataclass(eq=False, kw_only=True)
class MultiLevelOT(VocabularyObjective):
    """Differences and logarithms of ranked probabilities at pairs of positions, and transport between all of them."""

    terms: ClassVar[dict[str, Unit]] = {"token": "pairs", "sequence": "sequences"}
    zero_at_match: ClassVar[bool] = False

    top_k: int = 50
    """How many tokens of either side take part."""
    positions: Literal["context", "index"] = "context"
    """Compare where both models have read the same bytes, or the i-th tokens of both responses, as published."""
    order: Literal["sample", "batch"] = "sample"
    """Tokens are ranked by their mass in the response, or in all of the batch, as published."""
    costs: Literal["corrected", "published"] = "corrected"
    """Probabilities as they are, the teacher's as the target; or as the public code has them."""
    logarithm: float = 0.1
    """Weight of the logarithmic cost beside the absolute one."""
    sequence: float = 0.1
    """Weight of the transport between positions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("positions", self.positions, ("context", "index"))
        check_choice("order", self.order, ("sample", "batch"))
        check_choice("costs", self.costs, ("corrected", "published"))
        check_number("logarithm", self.logarithm, "[0, inf)")
        check_number("sequence", self.sequence, "[0, inf)")
        if type(self.top_k) is not int or self.top_k < 1:
            raise BadInput(f"top_k must be a whole number of at least 1, got {self.top_k!r}")
        if self.order == "batch":
            self.additive = False

    def term_weights(self) -> dict[str, float]:
        return {"sequence": self.sequence}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {
            "token": count_of(paired_positions(batch, self.shared, self.positions)),
            "sequence": batch.student.predicts.any(dim=1).sum(),
        }

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        k = min(self.top_k, len(student[Head()].weight), len(teacher[Head()].weight))
        log_q = self._ranked(student, batch.student, k)
        with torch.no_grad():
            log_p = self._ranked(teacher, batch.teacher, k)
        counts = self.counts(batch)
        return {
            "token": Loss(self._token(log_p, log_q, batch), counts["token"], "pairs"),
            "sequence": Loss(self._sequence(log_p, log_q, batch), counts["sequence"], "sequences"),
        }

    def _ranked(self, signals: Signals, side: Side, k: int) -> Tensor:
        """Log-probabilities `[B,S',k]` of packed positions at the tokens of most mass."""
        head, states = signals[Head()], signals[FinalHidden()][side.predicts]
        sample, place = side.predicts.nonzero(as_tuple=True)
        size = max(1, _AT_ONCE // len(head.weight))
        parts = list(zip(states.split(size), sample.split(size), strict=True))
        ranked = self._ranking(head, parts, len(side.predicts)).topk(k, dim=1).indices
        found = torch.cat(
            [checkpoint(self._at, head, part, ranked[rows], use_reentrant=False) for part, rows in parts]
        )
        whole = found.new_zeros(*side.predicts.shape, k).index_put((sample, place), found)
        return packed(whole, side.predicts)

    @torch.no_grad()
    def _ranking(self, head: HeadWeights, parts: list[tuple[Tensor, Tensor]], samples: int) -> Tensor:
        """How much probability each token has over the positions of a response, `[B,V]`; or of the batch."""
        mass = torch.zeros(samples, len(head.weight), device=head.weight.device)
        for states, rows in parts:
            mass.index_add_(0, rows, self._log_probabilities(head, states).exp().float())
        return mass if self.order == "sample" else mass.sum(0).expand_as(mass)

    def _at(self, head: HeadWeights, states: Tensor, ids: Tensor) -> Tensor:
        return self._log_probabilities(head, states).gather(1, ids)

    def _log_probabilities(self, head: HeadWeights, states: Tensor) -> Tensor:
        """`[n,V]` of logits in units of their standard deviation, from `states [n,d]`."""
        logits = head(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        size = max(1, logits.shape[1] - 1) ** 0.5
        deviation = (
            torch.linalg.vector_norm(logits - logits.mean(1, keepdim=True), dim=1, keepdim=True) / size
        )
        return (logits / (deviation + STEADY) / self.temperature).log_softmax(1)

    def _token(self, log_p: Tensor, log_q: Tensor, batch: Batch) -> Tensor:
        pairs = paired_positions(batch, self.shared, self.positions)
        ours, theirs = (
            side.predicts.cumsum(1)[pairs.rows, places] - 1
            for side, places in ((batch.student, pairs.student), (batch.teacher, pairs.teacher))
        )
        log_p, log_q = log_p[pairs.rows, theirs], log_q[pairs.rows, ours]
        p, q = log_p.exp(), log_q.exp()
        if self.costs == "published":
            logarithm = -(q.softmax(1) * p.log_softmax(1))
        else:
            logarithm = -(p * log_q)
        return ((p - q).abs() + self.logarithm * logarithm).sum()

    def _sequence(self, log_p: Tensor, log_q: Tensor, batch: Batch) -> Tensor:
        p, q = log_p.exp(), log_q.exp()
        if self.costs == "published":
            p, q = (p / 2).softmax(2), (q / 2).softmax(2)
        cost = torch.cdist(p, q, p=1.0)
        masses = [
            uniform_mass(side.predicts.sum(1), each.shape[1], each.dtype)
            for side, each in ((batch.teacher, p), (batch.student, q))
        ]
        return (transport_plan(cost, masses[0], masses[1], EPSILON, ROUNDS) * cost).sum()
