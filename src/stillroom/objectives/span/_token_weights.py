"""What every token weighs in the unit that it is part of, and so what every unit weighs.

attention     how much the last real token of the row attends to it, summed over heads
centrality    what the average other token attends to it, by hidden states alone (`_centrality`)
uniform       all the same

among the trained tokens whose final states are known. Weights of a row sum to one over these, and are zero elsewhere.
They carry no gradient.
"""

from typing import Literal

import torch
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.signals import ReceivedAttention, Request, Signals
from stillroom.objectives.span._centrality import centrality

Kind = Literal["attention", "centrality", "uniform"]


def token_weights(kind: Kind, signals: Signals, layer: int, states: Tensor, side: Side) -> Tensor:
    """`[B,S]`, float32, of a model with `states [B,S,D]` in `layer`, counted from 1."""
    kept = known(side)
    if kind == "attention":
        return last_attention(signals[ReceivedAttention(layer, "last")], kept)
    return centrality(states, kept) if kind == "centrality" else uniform(kept)


def weighed_by(kind: Kind, layer: int) -> list[Request]:
    """What `token_weights` reads of a layer beside its states."""
    return [ReceivedAttention(layer, "last")] if kind == "attention" else []


def known(side: Side) -> Tensor:
    """Trained tokens whose final states are known, `[B,S]` bool: all but the last of a response."""
    return side.predicts & side.response_mask.bool()


def last_attention(received: Tensor, kept: Tensor) -> Tensor:
    """`[B,S]` from `ReceivedAttention(layer, rows="last")`, `[B,H,S]`, where `kept [B,S]`; elsewhere it is not read."""
    precise = torch.promote_types(received.dtype, torch.float32)
    return shares(received.detach().sum(dim=1, dtype=precise), kept)


def uniform(kept: Tensor) -> Tensor:
    """`[B,S]`, float32."""
    return shares(kept.float(), kept)


def shares(weights: Tensor, kept: Tensor) -> Tensor:
    """`weights [B,N]` of at least 0 that sum to one over what is kept in each row, zero elsewhere; all zero where
    nothing has weight. What is not kept is not read."""
    weights = torch.where(kept, weights, 0.0)
    total = weights.sum(dim=1, keepdim=True)
    return weights / total.where(total > 0, 1)
