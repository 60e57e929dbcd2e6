"""How an answer about a padded batch becomes rows on disk, one a position, and rows become the answer again.

    ReceivedAttention(l)   at real tokens        mass [n,H], times n: a mean of one suits half precision
    Hidden(l)              at real tokens        hidden [n,D]
    NormedHidden(l)        where predicted       hidden [m,D]; objectives may read it nowhere else
    FinalHidden()          where predicted       hidden [m,D]; the same
    TopTokens(k, T)        where predicted       ids [m,k] int32, log_probs [m,k], log_tail [m]
    Head(), Embedding(), OutputProjection(l)    once a store, exactly as they are

What is read back is normalized again (mass, probabilities), so that rounding leaves the sums at one. Logits, queries,
keys and values are refused: they are larger than the work of computing them anew is worth.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    Embedding,
    FinalHidden,
    Head,
    HeadTransform,
    HeadWeights,
    Hidden,
    NormedHidden,
    OutputProjection,
    ReceivedAttention,
    Request,
    TopTokenProbs,
    TopTokens,
)

Rows = dict[str, Tensor]
"""Parts of an answer by name, a row for each position."""

ONCE = (Head, Embedding, OutputProjection)
"""Requests whose answer is the same for every sample."""
PER_SAMPLE = (ReceivedAttention, Hidden, NormedHidden, FinalHidden, TopTokens)
WHERE_PREDICTED = (FinalHidden, NormedHidden, TopTokens)
"""Of these: requests whose answer means something only where a trained token is predicted."""
PROJECTION = "output_projection."
"""Name of a part, before the number of its layer."""


def check_storable(requests: Collection[Request]) -> None:
    """`BadInput` for what a store does not hold."""
    for request in requests:
        if not isinstance(request, (*ONCE, *PER_SAMPLE)):
            raise BadInput(
                f"expected objectives whose teacher signals can be stored (received attention, hidden states, final "
                f"hidden states with the head, top tokens), got {request!r}, which is larger than the work it saves; "
                "choose an objective that reads others, or teacher.use: live"
            )


def request_name(request: Request) -> str:
    """The same text for equal requests: `TopTokens(k=64, temperature=1.0)`, also where 1 was given."""
    if isinstance(request, TopTokens):
        request = replace(request, temperature=float(request.temperature))
    return repr(request)


def positions(request: Request, side: Side) -> Tensor:
    """`[B,S]` bool: where the answer to `request` means something and is kept."""
    if isinstance(request, WHERE_PREDICTED):
        return side.predicts
    return side.attention_mask.bool()


def to_rows(request: Request, answer: Any, side: Side) -> Rows:
    """Every part of an answer with positions second, `[B,S,...]`."""
    match answer:
        case TopTokenProbs():
            return {
                "ids": answer.ids.int(),
                "log_probs": answer.log_probs,
                "log_tail": answer.log_tail,
            }
        case Tensor() if isinstance(request, ReceivedAttention):
            return {"mass": answer.transpose(1, 2) * _lengths(side)}
        case _:
            return {"hidden": answer}


def from_rows(request: Request, rows: Rows, side: Side) -> Any:
    """The answer, from parts `[B,S,...]` in the type of computing that are zero where nothing is kept."""
    match request:
        case ReceivedAttention():
            mass = rows["mass"]
            total = mass.sum(dim=1, keepdim=True)
            # no mass at all where a sample has no row to average; none may appear there
            return torch.where(total > 0, mass / total.clamp(min=1e-30), 0.0).transpose(1, 2)
        case TopTokens():
            return _top_tokens(rows, positions(request, side))
        case _:
            return rows["hidden"]


def pack_once(answers: Mapping[Request, Any]) -> Rows:
    """Head, embedding and output projections as tensors of one file."""
    packed: Rows = {}
    for request, answer in answers.items():
        if isinstance(request, Head):
            packed["head"] = answer.weight
            scale, softcap = answer.transform.scale, answer.transform.softcap
            packed["head.scale"] = torch.tensor(scale, dtype=torch.float64)
            if answer.transform.bias is not None:
                packed["head.bias"] = answer.transform.bias
            if softcap is not None:
                packed["head.softcap"] = torch.tensor(softcap, dtype=torch.float64)
        elif isinstance(request, Embedding):
            packed["embedding"] = answer
        elif isinstance(request, OutputProjection):
            packed[f"{PROJECTION}{request.layer}"] = answer
    # one matrix may be both (tied), and a view of a larger one (trimmed)
    return {name: each.detach().cpu().clone().contiguous() for name, each in packed.items()}


def unpack_once(packed: Rows) -> dict[Request, Any]:
    """The way back from `pack_once`."""
    answers: dict[Request, Any] = {}
    if "head" in packed:
        softcap = packed.get("head.softcap")
        transform = HeadTransform(
            packed.get("head.bias"), float(packed["head.scale"]), None if softcap is None else float(softcap)
        )
        answers[Head()] = HeadWeights(packed["head"], transform)
    if "embedding" in packed:
        answers[Embedding()] = packed["embedding"]
    for name in packed:
        if name.startswith(PROJECTION):
            answers[OutputProjection(int(name.removeprefix(PROJECTION)))] = packed[name]
    return answers


def _lengths(side: Side) -> Tensor:
    return side.attention_mask.sum(dim=1)[:, None, None]


def _top_tokens(rows: Rows, kept: Tensor) -> TopTokenProbs:
    log_probs, log_tail = rows["log_probs"], rows["log_tail"].masked_fill(~kept, -torch.inf)
    log_sum = torch.cat([log_probs, log_tail[..., None]], dim=-1).logsumexp(dim=-1)
    log_sum = log_sum.masked_fill(~kept, 0.0)  # elsewhere the answer is token 0 with certainty, as live
    return TopTokenProbs(rows["ids"].long(), log_probs - log_sum[..., None], log_tail - log_sum)
