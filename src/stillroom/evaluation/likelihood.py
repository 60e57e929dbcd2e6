"""How likely the student finds the held-out responses, and how close it is to its teacher there.

    loss       = - 1/N sum_n log Q(y_n)                  nats per response token, end tokens included
    perplexity = exp(loss)
    teacher_kl = 1/N sum_n KL(P_n || Q_n)                nats per response token
    agreement  = 1/N sum_n [argmax P_n = argmax Q_n]     0 to 1

over all N response tokens of the set at once: a corpus mean, in which a long response weighs more than a
short one. (MiniLLM's `lm_loss` is a mean of the means of samples, another number.) The temperature is 1. No
tensor of all logits exists: rows pass through both heads in chunks, and what is left of a token are one or
three numbers.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.numerics.divergence import forward_kl
from stillroom.taps.capture import capture
from stillroom.taps.eval_mode import eval_mode
from stillroom.teachers.live import LiveTeacher

CHUNK_ELEMENTS = 2**23
"""Logits per chunk: 32 MiB in float32, and a handful of such matrices live at once."""

READS = (FinalHidden(), Head())


class HeldOut(Protocol):
    """A map-style data set of encoded samples, each with its `input_ids`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def evaluate_likelihood(
    student: nn.Module,
    dataset: HeldOut,
    collator: Callable[[list[Any]], Mapping[str, Any]],
    *,
    teacher: LiveTeacher | None = None,
    vocab_size: int | None = None,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Loss, perplexity and tokens of the student; with a `teacher` also teacher_kl and agreement.

    `vocab_size` trims the student's head as the teacher's is (`LiveTeacher.vocab_size`). Batches go to
    `device`, by default the student's. `progress(done, total)` counts samples. `student` may be any causal
    language model: a teacher's own loss comes from passing its model. `BadInput` where no response token is
    left to score, or where the vocabularies of the two differ.
    """
    device = next(student.parameters()).device if device is None else torch.device(device)
    scores = []
    done = 0
    with eval_mode(student):
        for inputs in _batches(dataset, collator, batch_size):
            on_device = {name: value.to(device) for name, value in inputs.items()}
            batch = Batch.from_inputs(on_device)
            scores.append(_score_batch(student, teacher, batch, vocab_size))
            done += len(batch.sample_ids)
            if progress is not None:
                progress(done, len(dataset))
    return _means(scores)


def _batches(
    dataset: HeldOut, collator: Callable[[list[Any]], Mapping[str, Any]], batch_size: int
) -> Iterator[Mapping[str, Any]]:
    """Samples of like length together, the longest first: what does not fit in memory shows at once."""
    order = sorted(range(len(dataset)), key=lambda index: -len(dataset[index]["input_ids"]))
    for first in range(0, len(order), batch_size):
        yield collator([dataset[index] for index in order[first : first + batch_size]])


def _score_batch(
    student: nn.Module, teacher: LiveTeacher | None, batch: Batch, vocab_size: int | None
) -> Tensor:
    """Numbers of every scored token, `[N,1]` or with a teacher `[N,3]`, on the CPU."""
    if teacher is not None and batch.teacher is not batch.student:
        raise BadInput(
            "teacher_kl and agreement compare token by token, but the samples carry two tokenizers; "
            "leave both metrics out or evaluate without a teacher."
        )
    side = batch.student
    targets = side.targets[side.predicts]
    if len(targets) == 0:
        return torch.zeros(0, 1 if teacher is None else 3)
    ours = _Scorer.of(capture(student, side, READS, vocab_size=vocab_size, owner="student"), side)
    theirs = None if teacher is None else _Scorer.of(teacher.answer(batch, READS), side)
    _check_vocabularies(targets, ours, theirs)
    chunk = max(1, CHUNK_ELEMENTS // ours.vocabulary)
    parts = []
    for first in range(0, len(targets), chunk):
        part = slice(first, first + chunk)
        parts.append(_score(targets[part], ours.logits(part), theirs and theirs.logits(part)))
    return torch.cat(parts).cpu()


@dataclass(frozen=True)
class _Scorer:
    """Final hidden states of the scored positions `[N,D]` and the head that makes logits of them."""

    hidden: Tensor
    head: HeadWeights

    @classmethod
    def of(cls, signals: Signals, side: Side) -> "_Scorer":
        return cls(signals[FinalHidden()][side.predicts], signals[Head()])

    @property
    def vocabulary(self) -> int:
        return self.head.weight.shape[0]

    def logits(self, part: slice) -> Tensor:
        return self.head(self.hidden[part]).float()


def _score(targets: Tensor, student_logits: Tensor, teacher_logits: Tensor | None) -> Tensor:
    """Cross-entropy, and with a teacher KL and whether the likeliest tokens agree: `[n,1]` or `[n,3]`."""
    log_q = student_logits.log_softmax(dim=-1)
    numbers = [-log_q.gather(1, targets[:, None])[:, 0]]
    if teacher_logits is not None:
        numbers.append(forward_kl(teacher_logits.log_softmax(dim=-1), log_q))
        numbers.append((teacher_logits.argmax(dim=-1) == student_logits.argmax(dim=-1)).float())
    return torch.stack(numbers, dim=1)


def _check_vocabularies(targets: Tensor, ours: _Scorer, theirs: _Scorer | None) -> None:
    if theirs is not None and ours.vocabulary != theirs.vocabulary:
        raise BadInput(
            f"teacher_kl and agreement need one vocabulary, but the student scores {ours.vocabulary} tokens "
            f"and the teacher {theirs.vocabulary}; trim both heads to what they share."
        )
    largest = int(targets.max())
    if largest >= ours.vocabulary:
        raise BadInput(
            f"the held-out responses hold token {largest}, but the model scores tokens below "
            f"{ours.vocabulary}; encode them with the model's own tokenizer."
        )


def _means(scores: Sequence[Tensor]) -> dict[str, float]:
    """Sums in float64 over all tokens, divided once."""
    everything = torch.cat(list(scores)).double() if scores else torch.zeros(0, 1)
    if len(everything) == 0:
        raise BadInput(
            "the held-out set has no response token to score; give samples with responses "
            "or raise data.max_length."
        )
    means = everything.mean(dim=0).tolist()
    metrics = {"loss": means[0], "perplexity": _exp(means[0]), "tokens": float(len(everything))}
    if len(means) == 3:
        metrics |= {"teacher_kl": means[1], "agreement": means[2]}
    return metrics


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
