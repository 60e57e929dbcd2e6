"""Signals: what can be asked of a model, and the answers.

An objective names the requests it reads; taps and teachers answer those and keep nothing else. Layers count from
1; `Hidden(0)` is the output of the embedding. Letters: B batch, S positions, V vocabulary, H query heads, G key
heads, d head width, e width of a head's values, D model width.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Request:
    """A question to a model. Frozen and hashable: requests are the keys of `Signals`."""


@dataclass(frozen=True)
class Logits(Request):
    """Next-token scores `[B,S,V]`, trimmed to the shared vocabulary. Prefer `FinalHidden` and `Head` to the logits
    where a kernel can do the rest: the full tensor is the largest one of a distillation step."""


@dataclass(frozen=True)
class FinalHidden(Request):
    """Hidden states after the final norm, `[B,S,D]`: what the head is applied to."""


@dataclass(frozen=True)
class Hidden(Request):
    """Output of block `layer`, before the final norm, `[B,S,D]`; layer 0 is the embedding output."""

    layer: int


@dataclass(frozen=True)
class NormedHidden(Request):
    """Output of block `layer` after the model's final norm, `[B,S,D]`: what the head would be applied to, were it the
    last block. `NormedHidden(depth)` is `FinalHidden()`, and objectives read both only where a trained token is
    predicted; layer 0 is the embedding output.
    """

    layer: int


@dataclass(frozen=True)
class Embedding(Request):
    """The input embedding matrix `[V,D]`."""


@dataclass(frozen=True)
class Head(Request):
    """The output head, a `HeadWeights`."""


@dataclass(frozen=True)
class QueryKey(Request):
    """A `QueryKeys` of block `layer`: queries `[B,H,S,d]` and keys `[B,G,S,d]` after the rotary embedding."""

    layer: int


@dataclass(frozen=True)
class Values(Request):
    """Values `[B,G,S,e]` of block `layer`."""

    layer: int


@dataclass(frozen=True)
class OutputProjection(Request):
    """What each query head of block `layer` writes with into the model, `[H,e,D]`.

    The slices W_h of the output projection: attention adds sum_h A_h V_h W_h (and the projection's bias, if any) to
    the hidden states. Query head h reads the values of key head h * G // H.
    """

    layer: int


@dataclass(frozen=True)
class ReceivedAttention(Request):
    """How much attention every key of block `layer` receives from the average query, `[B,H,S]`.

    P_j = sum_i w_i A_ij, with w uniform over the queries at `rows`: all real tokens, those that predict a trained
    token, or the last real token alone. Zero on padding; each head sums to one over the keys. Reduced where it is
    seen, so that no map is kept; rows without weight are not computed, and the last one alone costs one query.
    """

    layer: int
    rows: Literal["real", "response", "last"] = "real"


@dataclass(frozen=True)
class TopTokens(Request):
    """The `k` likeliest next tokens and the probability of all others, a `TopTokenProbs`.

    Answered where a trained token is predicted; elsewhere it means nothing. `temperature` divides the logits first:
    the mass of the others at one temperature does not tell that at another.
    """

    k: int
    temperature: float = 1.0


@dataclass(frozen=True)
class TopTokenProbs:
    """`ids [B,S,k]`, by falling probability; `log_probs [B,S,k]`; `log_tail [B,S]`, of the sum of all others."""

    ids: Tensor
    log_probs: Tensor
    log_tail: Tensor


@dataclass(frozen=True)
class HeadTransform:
    """What lies between `hidden @ weight.T` and the logits: scale, bias, soft-cap, in this order.

    The order fits every supported family: only one of scale and bias occurs in any of them.
    """

    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, scores: Tensor) -> Tensor:
        """Scores `[..., V]` to logits `[..., V]`."""
        if self.scale != 1.0:
            scores = scores * self.scale
        if self.bias is not None:
            scores = scores + self.bias
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        return scores

    @property
    def is_identity(self) -> bool:
        return self.bias is None and self.scale == 1.0 and self.softcap is None


@dataclass(frozen=True)
class HeadMixture(HeadTransform):
    """Several heads side by side in one weight `[V, sum of widths]`, of which the mean probability counts.

        log sum_i shares[i] softmax(transforms[i](hidden_i @ weight_i.T))

    What it says cannot be had from the scores of the whole weight, so it reads hidden states instead.
    """

    widths: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    transforms: tuple[HeadTransform, ...] = ()

    def __call__(self, scores: Tensor) -> Tensor:
        raise TypeError("a mixture of heads reads hidden states (`mixed`), not the scores of one head")

    def mixed(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Hidden states side by side `[..., D]` to log-probabilities `[..., V]`, in float32 at least."""
        total = None
        parts = zip(hidden.split(self.widths, dim=-1), weight.split(self.widths, dim=-1), strict=True)
        for (states, rows), share, transform in zip(parts, self.shares, self.transforms, strict=True):
            scores = states @ rows.T
            logits = transform(scores.to(torch.promote_types(scores.dtype, torch.float32)))
            log_p = logits.log_softmax(dim=-1) + math.log(share)
            total = log_p if total is None else torch.logaddexp(total, log_p)
        assert total is not None
        return total

    @property
    def is_identity(self) -> bool:
        return False


@dataclass(frozen=True)
class HeadWeights:
    """`weight [V,D]`, trimmed to the shared vocabulary, and the transform that turns its scores into logits."""

    weight: Tensor
    transform: HeadTransform = HeadTransform()

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden states `[..., D]` to logits `[..., V]`."""
        if isinstance(self.transform, HeadMixture):
            return self.transform.mixed(hidden, self.weight)
        return self.transform(hidden @ self.weight.T)


@dataclass(frozen=True)
class QueryKeys:
    """Queries `[B,H,S,d]`, keys `[B,G,S,d]`, and the factor applied to their products before the softmax."""

    query: Tensor
    key: Tensor
    scaling: float
    softcap: float | None = None
    window: int | None = None


@dataclass(frozen=True)
class Reads:
    """What an objective asks of the student and of the teacher."""

    student: tuple[Request, ...] = ()
    teacher: tuple[Request, ...] = ()


class Signals(Mapping[Request, Any]):
    """Answers by request. Reading what was not declared is an error that says so."""

    def __init__(self, answers: Mapping[Request, Any], owner: str = "model") -> None:
        self._answers = dict(answers)
        self._owner = owner

    def __getitem__(self, request: Request) -> Any:
        if request not in self._answers:
            recorded = ", ".join(map(repr, self._answers)) or "nothing"
            raise KeyError(
                f"{request!r} was not recorded from the {self._owner} (recorded: {recorded}); "
                "declare it in the Reads that setup() returns"
            )
        return self._answers[request]

    def __iter__(self) -> Iterator[Request]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)
