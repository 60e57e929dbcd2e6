"""What a model says wherever a response token is predicted: its logits on demand, a few rows at a time.

The same for a live teacher, a student, and a cache that holds final hidden states (exact) or top tokens. Of top tokens
at temperature T the logits are T log p; what is not among them shares the tail evenly, which is no more than a guess.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.signals import FinalHidden, Head, Signals, TopTokens

Rows = slice | Tensor
"""Which rows: a slice, or their numbers."""
READS = (FinalHidden(), Head())
"""What a voice is made of, where it can be had."""


@dataclass(frozen=True)
class Voice:
    """N scored positions, in the order of the batches."""

    logits: Callable[[Rows], Tensor]
    """Rows to logits `[n,V]`, float32."""
    vocab_size: int
    targets: Tensor
    """The token that is right, `[N]`."""
    previous: Tensor
    """The token that was read there, `[N]`."""
    samples: Tensor
    """Whose position it is, `[N]`: the sample's index in its data set."""

    def __len__(self) -> int:
        return len(self.targets)


def listen(ask: Callable[[Batch], Signals], batches: Sequence[Batch], vocab_size: int) -> Voice:
    """Ask about every batch, without gradients. The answers hold `READS`, or one `TopTokens`."""
    with torch.no_grad():
        answers = [ask(batch) for batch in batches]
    masks = [batch.student.predicts for batch in batches]
    top = next((request for request in answers[0] if isinstance(request, TopTokens)), None)
    return Voice(
        _from_head(answers, masks) if top is None else _from_top(answers, masks, top, vocab_size),
        vocab_size,
        _gather([batch.student.targets for batch in batches], masks),
        _gather([batch.student.input_ids for batch in batches], masks),
        _gather(
            [batch.sample_ids[:, None].expand_as(batch.student.input_ids) for batch in batches],
            [mask.cpu() for mask in masks],
        ),
    )


def _gather(parts: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.to(mask.device)[mask] for part, mask in zip(parts, masks, strict=True)])


def _from_head(answers: Sequence[Signals], masks: Sequence[Tensor]) -> Callable[[Rows], Tensor]:
    head = answers[0][Head()]
    hidden = _gather([each[FinalHidden()] for each in answers], masks)

    def logits(part: Rows) -> Tensor:
        with torch.no_grad():
            return head(hidden[part].to(head.weight.dtype)).float()

    return logits


def _from_top(
    answers: Sequence[Signals], masks: Sequence[Tensor], request: TopTokens, vocab_size: int
) -> Callable[[Rows], Tensor]:
    found = [each[request] for each in answers]
    ids = _gather([each.ids for each in found], masks)
    log_probs = _gather([each.log_probs for each in found], masks)
    log_tail = _gather([each.log_tail for each in found], masks)
    others = torch.tensor(float(max(vocab_size - request.k, 1))).log()

    def logits(part: Rows) -> Tensor:
        rest = (log_tail[part].float().clamp(min=-60) - others)[:, None]
        dense = rest.repeat(1, vocab_size)
        return request.temperature * dense.scatter(1, ids[part], log_probs[part].float())

    return logits
