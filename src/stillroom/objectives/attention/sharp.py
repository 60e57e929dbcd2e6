"""SHARP: attention received at token, head and layer level, compared in orthogonal rank spaces.

    P_j    = sum_i w_i A_ij                              attention that key j receives, per layer and head
    P^g    = mean over layers and heads | layers | heads           one, H and L maps: token, head, layer
    H^g    = mean over those maps of phi( P^g - u )                u: what uniform causal attention gives
    L^g    = 1 - cos( H_S^g W^g, H_T^g W^g )                       one number a sequence
    loss   = lambda_distill ( sum_g alpha_g L^g + integration L_int ) + lambda_ortho L_ortho

The task loss of the paper is `hard.cross_entropy` beside it in a recipe, a divergence of logits another objective.

Paper:    SHARP: Structured Hierarchical Attention Rank Projection (2025, under review), Eq. 3-10, 15, 17-23
Differs:  features, frames and integration are frozen, frames fit their space, phi is not linear, maps are taken
          relative to the causal profile; `mode: paper` is the literal reading. docs/papers/sharp.md says why
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.loss import Loss, Unit
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Reads, ReceivedAttention, Signals
from stillroom.numerics.projection import (
    effective_rank,
    orthogonality_penalty,
    orthonormality_penalty,
    overlaps,
    smallest_overlap,
)
from stillroom.objectives._settings import check_choice, check_number
from stillroom.objectives.attention._pooled import Pooled, pooled
from stillroom.objectives.attention._rank_spaces import (
    Integration,
    LearnedPositions,
    PositionFeatures,
    RankSpaces,
)

GRANULARITIES = ("token", "head", "layer")
PAPER_POSITIONS = 512
PAPER = {
    "centering": "none",
    "activation": "linear",
    "initialization": "independent_qr",
    "orthogonality": "penalty",
}
"""What `mode: paper` sets."""


@dataclass(eq=False, kw_only=True)
class Sharp(Objective):
    """Cosine distances between projected pooled attention of student and teacher, per sequence."""

    zero_at_match: ClassVar[bool] = True

    mode: Literal["working", "paper"] = "working"
    """`paper` reads the paper to the letter: trained linear features with bias on raw maps of at most 512 positions,
    independent frames that need not fit, the soft penalty; it runs, and says what it violates."""
    granularities: list | None = None
    """Which of token, head and layer are compared; null is all three."""
    alpha: list | None = None
    """Their weights, in the same order, not negative and summing to one; null is equal weights."""
    width: int = 768
    """D, the dimensions that features have; free of the width of either model."""
    rank_size: int = 128
    """d, the dimensions of one rank space."""
    num_ranks: int = 1
    """Rank spaces of each granularity; their losses are averaged."""
    rank_space: Literal["separate", "shared", "none"] = "separate"
    """`separate` spaces for every granularity, one `shared` by all, or features compared as they are (`none`)."""
    initialization: Literal["joint_qr", "independent_qr", "gram_schmidt", "random"] = "joint_qr"
    """How the frames begin."""
    orthogonality: Literal["frozen", "parametrized", "penalty"] = "frozen"
    """`frozen` frames stay as they begin; `parametrized` ones are trained and exactly orthonormal together; `penalty`
    trains them with the soft penalty of weight lambda_ortho."""
    centering: Literal["difference", "log_ratio", "none"] = "difference"
    """Maps relative to the causal profile: the difference, the logarithm of the ratio, or as they are."""
    activation: Literal["gelu", "tanh", "linear"] = "gelu"
    """What stands between maps and the mean over heads or layers; `linear` makes the three granularities one."""
    rows: Literal["real", "response"] = "real"
    """Queries whose attention counts: all tokens, or those that predict a trained one."""
    integration: float = 0.0
    """Weight of L_int, the squared distance of what attention among the rank spaces makes of both models."""
    lambda_distill: float = 0.6
    """Weight of all that is compared."""
    lambda_ortho: float = 0.1
    """Weight of the soft penalty; without effect unless `orthogonality: penalty`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choices()
        self.chosen = list(GRANULARITIES if self.granularities is None else self.granularities)
        self._check_granularities()
        if self.mode == "paper":
            self._read_to_the_letter()
            if self.rank_space != "none":  # no frame has more orthonormal columns than rows
                check_number("rank_size", self.rank_size, f"[1, {self.width}]")
        else:
            self._check_fit()
        self.terms: dict[str, Unit] = dict.fromkeys(self.chosen, "sequences")  # type: ignore[misc]
        if self.integration > 0:
            self.terms["integration"] = "sequences"
        if self.orthogonality == "penalty" and self.rank_space != "none":
            self.terms["orthogonality"] = "step"

    def setup(self, student: ModelShape, teacher: ModelShape) -> Reads:
        if student.vocabulary != teacher.vocabulary:
            raise BadInput(
                "attention.sharp compares attention position by position and needs one vocabulary, but the student "
                f"has {student.vocabulary} and the teacher {teacher.vocabulary}: choose a cross-tokenizer objective"
            )
        self.student_shape, self.teacher_shape = student, teacher
        self._measured: dict[str, float] | None = None
        if self.mode == "paper":
            self.phi = nn.ModuleDict({g: LearnedPositions(PAPER_POSITIONS, self.width) for g in self.chosen})
        else:
            shared = PositionFeatures(self.width, self.activation)
            self.phi = nn.ModuleDict(dict.fromkeys(self.chosen, shared))
        self.spaces = None if self.rank_space == "none" else self._rank_spaces()
        self.integrate = None
        if self.integration > 0:
            rank = self.width if self.spaces is None else self.rank_size
            # trained, it would say one thing of everything, on a detached target only later than on another
            self.integrate = Integration(rank, self.width).requires_grad_(self.mode == "paper")
        return Reads(
            *(
                tuple(ReceivedAttention(layer, self.rows) for layer in range(1, shape.num_layers + 1))
                for shape in (student, teacher)
            )
        )

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> dict[str, Loss]:
        counted = batch.student.predicts.any(dim=1)
        ours = pooled(student, batch.student, self.student_shape.num_layers, self.rows)
        theirs = pooled(teacher, batch.teacher, self.teacher_shape.num_layers, self.rows)
        # half precision would round cosines near one to one
        with torch.autocast(counted.device.type, enabled=False):
            losses = self._compare(ours.samples(counted), theirs.samples(counted).detach())
            totals = {term: Loss(each.sum(), counted.sum(), "sequences") for term, each in losses.items()}
            if "orthogonality" in self.terms:
                totals["orthogonality"] = Loss(
                    self._penalty(), torch.ones((), dtype=torch.long, device=counted.device), "step"
                )
        return totals

    def term_weights(self) -> dict[str, float]:
        alpha = self.alpha if self.alpha is not None else [1 / len(self.chosen)] * len(self.chosen)
        weights = {g: self.lambda_distill * each for g, each in zip(self.chosen, alpha, strict=True)}
        others = {"integration": self.lambda_distill * self.integration, "orthogonality": self.lambda_ortho}
        return weights | {term: weight for term, weight in others.items() if term in self.terms}

    def features(self, signals: Signals, side: Side, shape: ModelShape) -> dict[str, tuple[Tensor, Tensor]]:
        """Per granularity, features before `[B,D]` and after projection `[B,R*d]`, of either model; for diagnostics."""
        maps = pooled(signals, side, shape.num_layers, self.rows)
        hidden = self._hidden(maps)
        return {g: (hidden[g], self._project(g, hidden[g]).flatten(1)) for g in self.chosen}

    def measures(self) -> dict[str, float]:
        if self._measured is None or self._is_trained:
            self._measured = self._measure()
        return dict(self._measured)

    def _measure(self) -> dict[str, float]:
        with torch.no_grad():
            found = {"control": self._control()}
            if self.spaces is None:
                return found
            all_frames = self.spaces.frames().float()
            names = self._space_names()
            found |= {
                f"effective_rank/{n}": effective_rank(f).item()
                for n, f in zip(names, all_frames, strict=True)
            }
            pairs = overlaps(all_frames)
            for i, first in enumerate(names):
                for j, second in enumerate(names[:i]):
                    found[f"overlap/{second}-{first}"] = pairs[i, j].item()
        return found

    def notes(self) -> list[str]:
        notes = []
        if self.mode == "paper":
            notes.append(f"mode: paper sets {', '.join(f'{name} {value}' for name, value in PAPER.items())}.")
        count = self._num_spaces
        least = smallest_overlap(count, self.width, self.rank_size)
        if self.spaces is not None and least > 0:
            notes.append(
                f"{count} rank spaces of {self.rank_size} dimensions cannot be orthogonal in {self.width}: "
                f"||W_i^T W_j|| is at least {least:.2f} a pair for orthonormal columns, the paper asks for 0.01."
            )
        if self.activation == "linear" and len(self.chosen) > 1:
            notes.append(
                "Features are linear in the maps, so the mean over heads or layers is the token map again: the "
                "granularities hold the same information."
            )
        if self.centering == "none":
            notes.append(
                "Maps are compared as they are: any two pooled causal maps have a cosine near 0.9, unrelated ones too."
            )
        if self._is_trained:
            notes.append(
                "The projections are trained on the loss that they carry: it falls for a student that learns nothing "
                f"(watch measure/control, {self._control():.3g} now, and the effective ranks)."
            )
        return notes

    # --- the parts --------------------------------------------------------------------------------------------

    def _compare(self, ours: Pooled, theirs: Pooled) -> dict[str, Tensor]:
        """Loss of every sequence, `[B]`, by term."""
        spaces = {}
        student, teacher = self._hidden(ours), self._hidden(theirs)
        for g in self.chosen:
            spaces[g] = (self._project(g, student[g]), self._project(g, teacher[g]))
        losses = {g: (1 - F.cosine_similarity(*pair, dim=-1)).mean(dim=1) for g, pair in spaces.items()}
        if self.integrate is not None:
            tokens = [torch.cat(each, dim=1) for each in zip(*spaces.values(), strict=True)]
            distance = self.integrate(tokens[0]) - self.integrate(tokens[1]).detach()
            losses["integration"] = distance.square().mean(dim=-1)
        return losses

    def _hidden(self, maps: Pooled) -> dict[str, Tensor]:
        """Features `[B,D]` of every granularity."""
        length = maps.received.shape[-1]
        if self.mode == "paper" and length > PAPER_POSITIONS:
            raise BadInput(
                f"attention.sharp in paper mode has one weight for each of {PAPER_POSITIONS} positions, got samples of "
                f"{length} tokens: set data.max_length to {PAPER_POSITIONS} or less, or use mode: working"
            )
        return {g: self.phi[g](maps.granularity(g, self.centering)).mean(dim=1) for g in self.chosen}

    def _project(self, granularity: str, hidden: Tensor) -> Tensor:
        """Features `[B,D]` to rank spaces `[B,R,d]`; as they are, `[B,1,D]`, where there is none."""
        if self.spaces is None:
            return hidden[:, None]
        first = 0 if self.rank_space == "shared" else self.chosen.index(granularity) * self.num_ranks
        own = self.spaces.frames()[first : first + self.num_ranks]
        return torch.einsum("bx,rxd->brd", hidden, own)

    def _penalty(self) -> Tensor:
        assert self.spaces is not None
        all_frames = self.spaces.frames()
        penalty = orthogonality_penalty(all_frames)
        return penalty if self.mode == "paper" else penalty + orthonormality_penalty(all_frames)

    def _rank_spaces(self) -> RankSpaces:
        return RankSpaces(
            self._num_spaces, self.width, self.rank_size, self.initialization, self.orthogonality
        )

    def _control(self) -> float:
        """The loss between two unrelated random models, which no student can lower: only the parts trained here can."""
        with torch.no_grad():
            device = next(iter([*self.parameters(), *self.buffers()])).device
            losses = self._compare(*(_unrelated(seed, device) for seed in (1, 2)))
            weights = self.term_weights()
            return sum(weights[term] * each.mean().item() for term, each in losses.items())

    @property
    def _is_trained(self) -> bool:
        return self.mode == "paper" or self.orthogonality != "frozen"

    @property
    def _num_spaces(self) -> int:
        return self.num_ranks * (1 if self.rank_space == "shared" else len(self.chosen))

    def _space_names(self) -> list[str]:
        owners = ["shared"] if self.rank_space == "shared" else self.chosen
        if self.num_ranks == 1:
            return owners
        return [f"{owner} {rank + 1}" for owner in owners for rank in range(self.num_ranks)]

    # --- settings ---------------------------------------------------------------------------------------------

    def _check_choices(self) -> None:
        check_choice("mode", self.mode, ("working", "paper"))
        check_choice("rank_space", self.rank_space, ("separate", "shared", "none"))
        check_choice(
            "initialization", self.initialization, ("joint_qr", "independent_qr", "gram_schmidt", "random")
        )
        check_choice("orthogonality", self.orthogonality, ("frozen", "parametrized", "penalty"))
        check_choice("centering", self.centering, ("difference", "log_ratio", "none"))
        check_choice("activation", self.activation, ("gelu", "tanh", "linear"))
        check_choice("rows", self.rows, ("real", "response"))
        for name in ("width", "rank_size", "num_ranks"):
            check_number(name, getattr(self, name), "[1, inf)")
        for name in ("integration", "lambda_distill", "lambda_ortho"):
            check_number(name, getattr(self, name), "[0, inf)")

    def _read_to_the_letter(self) -> None:
        for each in fields(self):
            if each.name not in PAPER:
                continue
            given, fixed = getattr(self, each.name), PAPER[each.name]
            if given not in (each.default, fixed):
                raise BadInput(
                    f"mode: paper has {each.name} {fixed}, got {given}: leave it out, or use mode: working"
                )
            setattr(self, each.name, fixed)

    def _check_granularities(self) -> None:
        chosen = self.chosen
        if not chosen or any(each not in GRANULARITIES for each in chosen) or len(set(chosen)) < len(chosen):
            raise BadInput(
                f"granularities must name one or more of {', '.join(GRANULARITIES)}, got {chosen!r}"
            )
        if self.alpha is None:
            return
        if len(self.alpha) != len(chosen):
            raise BadInput(f"alpha must have a weight for each of {', '.join(chosen)}, got {self.alpha!r}")
        for g, each in zip(chosen, self.alpha, strict=True):
            check_number(f"alpha of {g}", each, "[0, 1]")
        if abs(sum(self.alpha) - 1) > 1e-6:
            raise BadInput(
                f"alpha must sum to 1, got {self.alpha!r} with sum {sum(self.alpha):g}; leave it out for equal weights"
            )

    def _check_fit(self) -> None:
        needed = self._num_spaces * self.rank_size
        if self.rank_space == "none" or needed <= self.width:
            return
        owners = 1 if self.rank_space == "shared" else len(self.chosen)
        raise BadInput(
            f"{owners} granularities x {self.num_ranks} ranks x rank_size {self.rank_size} = {needed} dimensions "
            f"cannot be orthogonal in width {self.width}: rank_size can be at most {self.width // self._num_spaces}, "
            f"or raise width to {needed}"
        )


def _unrelated(seed: int, device: torch.device) -> Pooled:
    """Pooled attention of a random model of two layers and two heads on eight samples of 24 tokens."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(8, 2, 2, 24, 24, generator=generator)
    future = torch.ones(24, 24, dtype=torch.bool).triu(1)
    received = scores.masked_fill(future, -torch.inf).softmax(dim=-1).mean(dim=-2).to(device)
    return Pooled.whole(received)
