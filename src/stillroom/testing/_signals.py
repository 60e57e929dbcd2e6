"""Random batches and random answers to any request, in the shapes of two small models."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stillroom.alignment.spans import units_of
from stillroom.core.batch import Batch, Side
from stillroom.core.shape import ModelShape
from stillroom.core.signals import (
    Embedding,
    FinalHidden,
    Head,
    HeadWeights,
    Hidden,
    Logits,
    NormedHidden,
    OutputProjection,
    QueryKey,
    QueryKeys,
    ReceivedAttention,
    Request,
    TopTokenProbs,
    TopTokens,
    Values,
)

Answers = dict[Request, Any]
Change = Callable[[Request, Tensor, Side], Tensor]


WORDS = np.array([[start, start + 3] for start in range(0, 18, 3)])
PHRASES = np.array([[6, 9], [9, 13], [13, 18]])
"""Bytes of the text of every sample."""


def random_batch(student: ModelShape, teacher: ModelShape, generator: torch.Generator) -> Batch:
    """Three samples of unequal length, padded on the right; two sides where the vocabularies differ."""
    ours = _side(student, [9, 7, 4], [3, 2, 1], generator)
    if student.vocabulary == teacher.vocabulary:
        return Batch(ours, ours, torch.arange(3))
    return Batch(ours, _side(teacher, [7, 8, 4], [2, 3, 1], generator), torch.arange(3))


def _side(shape: ModelShape, lengths: list[int], prompts: list[int], generator: torch.Generator) -> Side:
    position = torch.arange(max(lengths))
    real = position < torch.tensor(lengths)[:, None]
    response = real & (position >= torch.tensor(prompts)[:, None])
    ids = torch.randint(shape.vocab_size, real.shape, generator=generator)
    # 18 bytes of text under every tokenizer: an alignment always has both ends to hold on to.
    ends = ((position + 1) * 18 // torch.tensor(lengths)[:, None]).clamp(max=18)
    words, phrases = (_units(ends, response, spans) for spans in (WORDS, PHRASES))
    return Side(ids, real.long(), response, ends, words, phrases)


def _units(ends: Tensor, response: Tensor, spans: np.ndarray) -> Tensor:
    found = torch.from_numpy(units_of(ends.flatten().numpy(), spans)).view_as(ends)
    return found.masked_fill(~response, -1)


def unscored(batch: Batch) -> Batch:
    """The same batch with no token that is trained on."""
    student = replace(batch.student, response_mask=torch.zeros_like(batch.student.response_mask))
    if batch.teacher is batch.student:
        return replace(batch, student=student, teacher=student)
    teacher = replace(batch.teacher, response_mask=torch.zeros_like(batch.teacher.response_mask))
    return replace(batch, student=student, teacher=teacher)


def random_answer(request: Request, shape: ModelShape, side: Side, generator: torch.Generator) -> Any:
    """A random answer of the right shape."""
    rows, positions = side.input_ids.shape
    heads, groups, width = shape.num_heads, shape.num_key_value_heads, shape.head_dim

    def normal(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator)

    match request:
        case (
            Hidden(layer)
            | NormedHidden(layer)
            | QueryKey(layer)
            | Values(layer)
            | OutputProjection(layer)
            | ReceivedAttention(layer)
        ) if not 0 <= layer <= shape.num_layers:
            raise AssertionError(f"{request!r} asks for a layer of a model that has {shape.num_layers}")
        case Logits():
            return normal(rows, positions, shape.vocab_size)
        case FinalHidden() | Hidden() | NormedHidden():
            return normal(rows, positions, shape.width)
        case Embedding():
            return normal(shape.vocab_size, shape.width)
        case Head():
            return HeadWeights(normal(shape.vocab_size, shape.width) * shape.width**-0.5)
        case QueryKey():
            query, key = normal(rows, heads, positions, width), normal(rows, groups, positions, width)
            return QueryKeys(query, key, width**-0.5)
        case Values():
            return normal(rows, groups, positions, width)
        case OutputProjection():
            return normal(heads, width, shape.width) * (heads * width) ** -0.5
        case ReceivedAttention():
            real = side.attention_mask[:, None, :].float()
            mass = normal(rows, heads, positions).exp() * real
            return mass / mass.sum(dim=-1, keepdim=True)
        case TopTokens(k):
            log_probs, ids = (
                normal(rows, positions, shape.vocab_size).log_softmax(dim=-1).sort(descending=True)
            )
            return TopTokenProbs(ids[..., :k], log_probs[..., :k], log_probs[..., k:].logsumexp(dim=-1))
        case _:
            raise AssertionError(
                f"the contract cannot make a random {request!r} yet: add it to stillroom.testing"
            )


def changed(request: Request, answer: Any, side: Side, change: Change) -> Any:
    """The answer with each of its tensors passed through `change`."""
    match answer:
        case HeadWeights():
            return replace(answer, weight=change(request, answer.weight, side))
        case QueryKeys():
            query, key = (change(request, each, side) for each in (answer.query, answer.key))
            return replace(answer, query=query, key=key)
        case TopTokenProbs():
            log_probs, tail = (change(request, each, side) for each in (answer.log_probs, answer.log_tail))
            return replace(answer, log_probs=log_probs, log_tail=tail)
        case _:
            return change(request, answer, side)


def row_of(request: Request, answer: Any, row: int) -> Any:
    """The answer about one sample; what belongs to no sample stays whole."""
    one = slice(row, row + 1)
    match answer:
        case HeadWeights():
            return answer
        case QueryKeys():
            return replace(answer, query=answer.query[one], key=answer.key[one])
        case TopTokenProbs():
            return TopTokenProbs(answer.ids[one], answer.log_probs[one], answer.log_tail[one])
        case _:
            return answer if isinstance(request, Embedding | OutputProjection) else answer[one]


def spoil(request: Request, tensor: Tensor, side: Side) -> Tensor:
    """Overwrite what must not matter: all but scored positions of the output, padding elsewhere."""
    match request:
        case Logits() | FinalHidden() | NormedHidden():
            return tensor.masked_fill(~side.predicts[:, :, None], torch.nan)
        case TopTokens():
            return tensor.masked_fill(
                ~(side.predicts if tensor.dim() == 2 else side.predicts[:, :, None]), torch.nan
            )
        case ReceivedAttention():
            return tensor.masked_fill(side.attention_mask[:, None, :] == 0, torch.nan)
        case Hidden():
            return tensor.masked_fill(side.attention_mask[:, :, None] == 0, torch.nan)
        case QueryKey() | Values():
            # Large but finite: a product of attention's masked zero with NaN would be NaN in any kernel.
            return tensor.masked_fill(side.attention_mask[:, None, :, None] == 0, 50.0)
        case _:
            return tensor


def tensors(answers: Mapping[Request, Any]) -> list[Tensor]:
    """Every tensor of the answers."""
    found: list[Tensor] = []
    for answer in answers.values():
        match answer:
            case HeadWeights():
                found.append(answer.weight)
            case QueryKeys():
                found += [answer.query, answer.key]
            case TopTokenProbs():
                found += [answer.log_probs, answer.log_tail]
            case _:
                found.append(answer)
    return found
