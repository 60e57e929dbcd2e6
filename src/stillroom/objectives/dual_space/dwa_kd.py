"""DWA-KD: cross-model attention with entropy weights on tokens, and responses laid over each other by soft-DTW.

    student_space    sum_i w_i D( sg[P_ts] || Q )_i       w_i = H(Q_i) max_v P_ts(v)  (the gate; `_entropy_weights.py`)
    teacher_space    sum_j w_j KL( P || Q_st )_j          w_j = 1 - H(P_j) / log W
    projector        sum_i -log P_ts(y_i)
    warp_hidden      sum over samples of nDTW( H_s, W_h H_t )       W_h is the attention's, to the student
    warp_embeddings  sum over samples of nDTW( E_s, W_e E_t )       of the tokens of the response

nDTW is the normalized soft-DTW of cosine costs (`_sequences.py`), on the response. Its band comes from the attention:
cells of the cross cost that lie outside cost `penalty` more. All terms are divided by the student's trained tokens.

Paper:    DWA-KD (2026, arXiv 2602.21669), eqs. 7-25, Tables 4-5; weights of the terms from the public scripts
Differs:  gamma is fixed, where the scripts move it from 2.0 to 0.8 over 3570 steps and ramp w_i up over 300: objectives
          know no step. The text says KL in the student's space, the scripts set skew_reverse_kl. `region: prompt_slip`
          is the public code, which warps the start of the text instead of the response; `behavior: code` rescales w_i
          before the confidence is multiplied in, and takes the standard deviations of `cross_model_attention`. The
          diagonal of the code's band counts positions from 0, the paper's from 1
Beware:   nDTW grows with length. The slope of a cosine grows as its vectors shrink: with a young embedding warping can
          outweigh everything else, see grad_norm. Its projections are trained on it: compare measure/warp_control
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Reads, Signals
from stillroom.numerics.warping_cost import Band, entropy_band
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.dual_space._cross_attention import Meeting
from stillroom.objectives.dual_space._entropy_weights import student_weights, teacher_weights
from stillroom.objectives.dual_space._prompt_slip import slipped, slipped_attention
from stillroom.objectives.dual_space._reading import Reading
from stillroom.objectives.dual_space._sequences import Sequences
from stillroom.objectives.dual_space.cross_model_attention import CrossModelAttention, Spaces

WARPED = {"both": ("hidden", "embeddings"), "hidden": ("hidden",), "embeddings": ("embeddings",), "none": ()}


@dataclass(eq=False, kw_only=True)
class DWAKD(CrossModelAttention):
    """Weighted divergences in both spaces, and normalized soft-DTW between the responses."""

    two_vocabularies: ClassVar[bool] = True

    correct_only: bool = False
    """In the student's space, learn only where the projected teacher's likeliest token is that of the text (DSKD)."""
    weights: Literal["both", "student", "teacher", "none"] = "both"
    """Spaces whose tokens are weighted by entropy."""
    gate: bool = True
    """In the student's space, weigh by the projected teacher's confidence too; false: by entropy alone."""
    warp: Literal["both", "hidden", "embeddings", "none"] = "both"
    """What is laid over each other: final states, embeddings of the tokens of the response, or both."""
    region: Literal["response", "prompt_slip"] = "response"
    """`prompt_slip`: the first tokens of the text, as many as the response has, as in the public code."""
    gamma: float = 1.0
    """Temperature of soft-DTW, in units of cost; towards 0 only the best path counts."""
    band: Literal["entropy", "none"] = "entropy"
    """Charge cells far from where the attention lies; its entropy widens the band."""
    base: float = 5.0
    """Half the width of the band where attention is certain, in teacher tokens."""
    slope: float = 2.0
    """What each nat of entropy adds to it."""
    share: float = 0.7
    """Weight of the attention in the center of the band; the rest is the diagonal's."""
    penalty: float = 1.0
    """Cost of a cell outside the band, beside its own of 0 to 2."""
    space_weight: float = 0.5
    """Weight of the terms of both spaces and of the projector."""
    warp_weight: float = 0.2
    """Weight of the warping terms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("weights", self.weights, ("both", "student", "teacher", "none"))
        check_choice("warp", self.warp, tuple(WARPED))
        check_choice("region", self.region, ("response", "prompt_slip"))
        check_choice("band", self.band, ("entropy", "none"))
        check_number("gamma", self.gamma, "(0, inf)")
        check_number("share", self.share, "[0, 1]")
        for name in ("base", "slope", "penalty", "space_weight", "warp_weight"):
            check_number(name, getattr(self, name), "[0, inf)")
        warped = {f"warp_{each}": "tokens" for each in WARPED[self.warp]}
        self.terms = CrossModelAttention.terms | warped  # type: ignore[misc]

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        reads = super().setup(student, teacher)
        if "embeddings" in WARPED[self.warp]:
            self.embeddings = nn.Linear(teacher.width, student.width)
        self._last_warp: tuple[Sequences, Band | None] | None = None
        return reads

    def term_weights(self) -> dict[str, float]:
        return {
            term: self.warp_weight if term.startswith("warp_") else self.space_weight for term in self.terms
        }

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        meeting = self.meet(student, teacher, batch)
        losses = self.space_losses(student, teacher, batch, meeting)
        return losses | self._warp_losses(student, teacher, batch, meeting)

    def weigh(self, spaces: Spaces, meeting: Meeting, targets: Tensor) -> tuple[Tensor | None, Tensor | None]:
        ours, theirs = None, None
        if self.weights in ("both", "teacher"):
            stated = spaces.teacher
            lengths = meeting.teacher.places.lengths
            theirs = teacher_weights(stated.statistics().entropy, len(stated.head.weight), lengths)
        if self.weights in ("both", "student"):
            brought, lengths = spaces.from_teacher.statistics(), meeting.student.places.lengths
            confidence = brought.top_probability if self.gate else torch.ones_like(brought.top_probability)
            ours = student_weights(
                spaces.student.statistics().entropy,
                confidence,
                lengths,
                before_confidence=self.behavior == "code",
            )
            is_correct = self.correct(brought.top_id, targets)
            return (ours * is_correct if self.correct_only else ours), theirs
        return super().weigh(spaces, meeting, targets)[0], theirs

    def measures(self) -> dict[str, float]:
        """Those of `cross_model_attention`, and `warp_control`: the warping of final states per token, had the teacher
        read the last sample backwards."""
        found = super().measures()
        if self._last_warp is not None:
            sequences, band = self._last_warp
            value = sequences.backwards().apart(self.gamma, band, self.penalty).item()
            found["warp_control"] = value / int(sequences.rows)
        return found

    def notes(self) -> list[str]:
        notes = super().notes()
        if self.region == "prompt_slip":
            notes.append(
                "region: prompt_slip warps prompts, whose states a stored teacher (teacher.use: cached) does not have."
            )
        return notes

    def _warp_losses(
        self, student: Signals, teacher: Signals, batch: Batch, meeting: Meeting
    ) -> dict[str, Loss]:
        if self.warp == "none":
            return {}
        ours, theirs, attention = meeting.student, meeting.teacher, meeting.attention
        if self.region == "prompt_slip":
            ours, theirs = slipped(student, teacher, batch)
            attention = slipped_attention(self.attention, meeting.scales, ours, theirs.places, teacher, batch)
        band = self._band(attention, ours, theirs)
        pairs, count = self._sequences(ours, theirs.detached()), self.counts(batch)["projector"]
        if self.training and "hidden" in pairs and count:
            self._keep(pairs["hidden"], band)
        apart = {name: pair.apart(self.gamma, band, self.penalty).sum() for name, pair in pairs.items()}
        return {f"warp_{name}": Loss(total, count) for name, total in apart.items()}

    def _band(self, attention: Tensor, ours: Reading, theirs: Reading) -> Band | None:
        if self.band == "none":
            return None
        lengths = ours.places.lengths, theirs.places.lengths
        return entropy_band(attention, *lengths, self.base, self.slope, self.share)

    def _sequences(self, ours: Reading, theirs: Reading) -> dict[str, Sequences]:
        lengths, project = (ours.places.lengths, theirs.places.lengths), self.attention.project
        found = {}
        if "hidden" in WARPED[self.warp]:
            brought = project(self.attention.to_student, theirs.hidden)
            found["hidden"] = Sequences(ours.hidden, brought, *lengths)
        if "embeddings" in WARPED[self.warp]:
            found["embeddings"] = Sequences(ours.after, project(self.embeddings, theirs.after), *lengths)
        return found

    def _keep(self, sequences: Sequences, band: Band | None) -> None:
        """One sample for the control: the longest."""
        number = int(sequences.rows.argmax())
        one = slice(number, number + 1)
        kept = None if band is None else Band(band.center[one], band.width[one])
        self._last_warp = sequences.sample(number), kept
