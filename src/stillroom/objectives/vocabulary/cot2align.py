"""COT2Align's transport: the tokens of a response are carried to those of the teacher, however many each side has.

    A = softmax over j of ( x_i . P y_j / sqrt d )           x student's, y teacher's, of the tokens of one response
    cost = 1 - A,   plan = the cheapest one with uniform masses, smoothed by epsilon (`numerics.optimal_transport`)
    loss = <plan, cost>                                      for embeddings, and for final hidden states

Masses are uniform over the tokens of a response and nothing else, so no alignment is needed: order and number of tokens
may differ. P is trained, one for each term.

The paper's other two terms are this one on other text. For the student's reasoning against the teacher's (CST), train
on responses in which the teacher reasons before it answers, together with `hard.cross_entropy`. For the plain answer
against the teacher's reasoning (CRC), the two sides of a batch hold different responses, which a `Batch` made in Python
may do and a recipe cannot say. Its token-level term is `vocabulary.uld` or `dual_space.*`.

Paper:    Le et al. 2025, CoT2Align: Cross-Chain of Thought Distillation via Optimal Transport Alignment (2502.16806).
          RECONSTRUCTED: neither its full text nor its program could be read; cost, masses and rounds are those of later
          public programs of the same group
Differs:  those multiply the cost by 0.1 where 1 / epsilon stands here. At epsilon = 10 the plan is uniform, and as the
          rows of A sum to one, the loss is 1 - 1 / T for T tokens of the teacher whatever the student does: it teaches
          next to nothing. So epsilon is 0.1. For the gradient the plan is given, which makes it that of what the plan
          makes least, <plan, cost> - epsilon entropy(plan): the published way through all rounds (`through_plan`)
          keeps 2 rounds x S x T numbers a sample. Sinkhorn runs over logarithms, a fixed number of rounds
Beware:   P lowers the loss also for a student that learns nothing (compare measure/control_*). All costs lie near one
          for long responses: raise the weight, not the learning rate
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Hidden, Reads, Request, Signals
from stillroom.numerics.optimal_transport import transport_plan, uniform_mass
from stillroom.objectives._packed import packed
from stillroom.objectives._settings import check_flag, check_number
from stillroom.objectives.vocabulary._chunks import predicted

REQUESTS: dict[str, Request] = {"embeddings": Hidden(0), "hidden": FinalHidden()}


@dataclass(eq=False, kw_only=True)
class COT2Align(Objective):
    """Cost of carrying a response's tokens to the teacher's, summed over sequences."""

    terms: ClassVar[dict[str, Unit]] = {"embeddings": "sequences", "hidden": "sequences"}
    two_vocabularies: ClassVar[bool] = True

    embeddings: float = 1.0
    """Weight of the transport between the embeddings of the tokens; 0 leaves it out."""
    hidden: float = 1.0
    """Weight of the transport between the final hidden states that predict the tokens; 0 leaves it out."""
    epsilon: float = 0.1
    """How much the plan is smoothed; costs lie between 0 and 1."""
    rounds: int = 20
    """Rounds of Sinkhorn's iteration. 20 leave less than 0.2 % of the mass astray on 4 to 150 random states."""
    through_plan: bool = False
    """Whether gradients pass through all the rounds that made the plan, as published; their memory grows with them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("embeddings", self.embeddings, "[0, inf)")
        check_number("hidden", self.hidden, "[0, inf)")
        check_number("epsilon", self.epsilon, "(0, inf)")
        check_flag("through_plan", self.through_plan)
        if not isinstance(self.rounds, int) or isinstance(self.rounds, bool) or self.rounds < 1:
            raise BadInput(f"rounds must be a whole number of at least 1, got {self.rounds!r}")
        self.terms = {term: unit for term, unit in type(self).terms.items() if getattr(self, term)}  # type: ignore[misc]
        if not self.terms:
            raise BadInput(
                "vocabulary.cot2align has nothing to compare: embeddings and hidden must not both be 0"
            )

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        self.projectors = nn.ModuleDict(
            {term: nn.Linear(teacher.width, student.width) for term in self.terms}
        )
        self._last: dict[str, tuple[Tensor, ...]] = {}
        wanted = tuple(REQUESTS[term] for term in self.terms)
        return Reads(student=wanted, teacher=wanted)

    def term_weights(self) -> dict[str, float]:
        return {term: getattr(self, term) for term in self.terms}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return dict.fromkeys(self.terms, _comparable(batch).sum())

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        rows = _comparable(batch)
        losses = {}
        for term in self.terms:
            sides = (student, batch.student), (teacher, batch.teacher)
            (ours, lengths), (theirs, others) = (_states(term, *each, rows) for each in sides)
            theirs = theirs.detach()
            losses[term] = Loss(
                self._transported(term, ours, theirs, lengths, others), rows.sum(), "sequences"
            )
            if self.training:  # copies: a view would keep the states of the whole batch
                kept = ours[:2].detach().clone(), theirs[:2].flip(0)
                self._last[term] = *kept, lengths[:2], others[:2].flip(0)
        return losses

    def measures(self) -> dict[str, float]:
        """`control_*`: what the loss of two texts of the last batch would be, had each the other's teacher."""
        with torch.no_grad():
            return {
                f"control_{term}": self._transported(term, *last).item() / 2
                for term, last in self._last.items()
                if len(last[0]) == 2
            }

    def notes(self) -> list[str]:
        return [
            "The projection is trained on the loss that it carries: it falls for a student that learns nothing "
            "(compare measure/control_*, the same loss against other texts)."
        ]

    def _transported(
        self, term: str, ours: Tensor, theirs: Tensor, lengths: Tensor, others: Tensor
    ) -> Tensor:
        """Summed cost of the plans; what rounding to half precision would do to sums over all rounds is not tried."""
        with torch.autocast(ours.device.type, enabled=False):
            masses = [
                uniform_mass(count, side.shape[1], side.dtype)
                for count, side in ((lengths, ours), (others, theirs))
            ]
            cost = attention_cost(ours, self.projectors[term](theirs), masses[1] > 0)
            known = cost if self.through_plan else cost.detach()
            return (transport_plan(known, masses[0], masses[1], self.epsilon, self.rounds) * cost).sum()


def attention_cost(ours: Tensor, theirs: Tensor, exists: Tensor) -> Tensor:
    """One minus the attention of `ours [B,S,d]` to those of `theirs [B,T,d]` that exist, `[B,T]`; `[B,S,T]`."""
    scores = ours @ theirs.mT / math.sqrt(ours.shape[-1])
    return 1 - scores.masked_fill(~exists[:, None, :], torch.finfo(scores.dtype).min).softmax(dim=-1)


def _states(term: str, signals: Signals, side: Side, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Of the samples `rows [B]`, bool: states at their tokens, packed `[B',S',d]` in float32 at least, and how many
    tokens, `[B']`. A token's place is its own for embeddings, and where it is predicted for final hidden states."""
    places = (predicted(side) if term == "embeddings" else side.predicts)[rows]
    states = packed(signals[REQUESTS[term]][rows], places)
    return states.to(torch.promote_types(states.dtype, torch.float32)), places.sum(dim=1)


def _comparable(batch: Batch) -> Tensor:
    """Samples with a token on both sides, `[B]` bool."""
    return batch.student.predicts.any(dim=1) & batch.teacher.predicts.any(dim=1)
