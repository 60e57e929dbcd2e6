"""How likely the student finds the held-out responses, and how close it is to its teacher there.

    loss       = - 1/N sum_n log Q(y_n)                  nats per response token, end tokens included
    perplexity = exp(loss)
    lm_loss    = 1/S sum_s mean_{n in s} - log Q(y_n)    MiniLLM's: the mean over samples of their means
    teacher_kl = 1/N sum_n KL(P_n || Q_n)                nats per response token
    agreement  = 1/N sum_n [argmax P_n = argmax Q_n]     0 to 1
    confidence_gap = 1/N sum_n |max P_n - max Q_n|       0 to 1

    calibration_error             see `calibration`: confidence max Q_n, right where argmax Q_n = y_n
    teacher_calibration_error     the same confidence, right where argmax Q_n = argmax P_n

over all N response tokens of the set at once: a corpus mean, in which a long response weighs more than a
short one; in `lm_loss` all S samples weigh the same. The temperature is 1. One pass gives all of them. No
tensor of all logits exists: rows pass through both heads in chunks, and what is left of a token are three or
six numbers, which are added up in float64 batch by batch.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadWeights, Signals
from stillroom.evaluation.calibration import Calibration
from stillroom.numerics.divergence import forward_kl
from stillroom.taps.capture import capture
from stillroom.taps.eval_mode import eval_mode
from stillroom.teachers.ensemble import EnsembleTeacher, Live

CHUNK_ELEMENTS = 2**23
"""Logits per chunk: 32 MiB in float32, and a handful of such matrices live at once."""

READS = (FinalHidden(), Head())
OF_STUDENT = ("loss", "confidence", "correct")
OF_BOTH = (*OF_STUDENT, "teacher_kl", "agreement", "confidence_gap")
"""Numbers of one token, in the order of their columns."""


class HeldOut(Protocol):
    """A map-style data set of encoded samples, each with its `input_ids`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


def evaluate_likelihood(
    student: nn.Module | EnsembleTeacher,
    dataset: HeldOut,
    collator: Callable[[list[Any]], Mapping[str, Any]],
    *,
    teacher: Live | None = None,
    vocab_size: int | None = None,
    batch_size: int = 16,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Loss, perplexity, lm_loss, calibration_error and tokens of the student; with a `teacher` also teacher_kl,
    agreement, confidence_gap and teacher_calibration_error.

    `vocab_size` trims the student's head as the teacher's is (`LiveTeacher.vocab_size`). Batches go to `device`, by
    default the student's. `progress(done, total)` counts samples. `student` may be any causal language model, or
    several teachers as one: a teacher's own loss comes from passing its model. `BadInput` where no response token is
    left to score, or where the vocabularies of the two differ.
    """
    model = student.members[0].model if isinstance(student, EnsembleTeacher) else student
    device = next(model.parameters()).device if device is None else torch.device(device)
    tally = _Tally()
    done = 0
    with eval_mode(model):
        for inputs in _batches(dataset, collator, batch_size):
            on_device = {name: value.to(device) for name, value in inputs.items()}
            batch = Batch.from_inputs(on_device)
            samples = batch.student.predicts.nonzero()[:, 0]
            tally.add(_score_batch(student, teacher, batch, vocab_size), samples.cpu())
            done += len(batch.sample_ids)
            if progress is not None:
                progress(done, len(dataset))
    return tally.metrics()


def _batches(
    dataset: HeldOut, collator: Callable[[list[Any]], Mapping[str, Any]], batch_size: int
) -> Iterator[Mapping[str, Any]]:
    """Samples of like length together, the longest first: what does not fit in memory shows at once."""
    order = sorted(range(len(dataset)), key=lambda index: -len(dataset[index]["input_ids"]))
    for first in range(0, len(order), batch_size):
        yield collator([dataset[index] for index in order[first : first + batch_size]])


def _score_batch(
    student: nn.Module | EnsembleTeacher, teacher: Live | None, batch: Batch, vocab_size: int | None
) -> Tensor:
    """Numbers of every scored token, `[N,3]` or with a teacher `[N,6]`, on the CPU."""
    if teacher is not None and batch.teacher is not batch.student:
        raise BadInput(
            "teacher_kl and agreement compare token by token, but the samples carry two tokenizers; "
            "leave both metrics out or evaluate without a teacher."
        )
    side = batch.student
    targets = side.targets[side.predicts]
    if len(targets) == 0:
        return torch.zeros(0, len(OF_STUDENT if teacher is None else OF_BOTH))
    if isinstance(student, EnsembleTeacher):
        said = student.answer(batch, READS)
    else:
        said = capture(student, side, READS, vocab_size=vocab_size, owner="student")
    ours = _Scorer.of(said, side)
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
    """`OF_STUDENT` `[n,3]`, or with a teacher `OF_BOTH` `[n,6]`."""
    log_q = student_logits.log_softmax(dim=-1)
    guess = student_logits.argmax(dim=-1)  # of the logits: rounding may make two probabilities equal
    confidence = log_q.gather(1, guess[:, None])[:, 0].exp()
    numbers = [-log_q.gather(1, targets[:, None])[:, 0], confidence, (guess == targets).float()]
    if teacher_logits is not None:
        log_p = teacher_logits.log_softmax(dim=-1)
        numbers.append(forward_kl(log_p, log_q))
        numbers.append((teacher_logits.argmax(dim=-1) == guess).float())
        numbers.append((log_p.amax(dim=-1).exp() - confidence).abs())
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


class _Tally:
    """Sums in float64 over all tokens, divided once."""

    def __init__(self) -> None:
        self.sums: Tensor | None = None
        self.tokens = self.samples = 0
        self.sample_means = 0.0
        self.against_text, self.against_teacher = Calibration(), Calibration()

    def add(self, numbers: Tensor, samples: Tensor) -> None:
        """Numbers of tokens `[n,3]` or `[n,6]` and the row of the batch that each belongs to `[n]`."""
        if len(numbers) == 0:
            return
        numbers = numbers.double()
        total = numbers.sum(dim=0)
        self.sums = total if self.sums is None else self.sums + total
        self.tokens += len(numbers)
        confidence = numbers[:, OF_BOTH.index("confidence")]
        self.against_text.add(confidence, numbers[:, OF_BOTH.index("correct")])
        if numbers.shape[1] == len(OF_BOTH):
            self.against_teacher.add(confidence, numbers[:, OF_BOTH.index("agreement")])
        counts = samples.bincount()
        losses = samples.bincount(weights=numbers[:, OF_BOTH.index("loss")])
        self.sample_means += float((losses[counts > 0] / counts[counts > 0]).sum())
        self.samples += int((counts > 0).sum())

    def metrics(self) -> dict[str, float]:
        if self.sums is None:
            raise BadInput(
                "the held-out set has no response token to score; give samples with responses "
                "or raise data.max_length."
            )
        means = dict(zip(OF_BOTH, (self.sums / self.tokens).tolist(), strict=False))
        metrics = {
            "loss": means["loss"],
            "perplexity": _exp(means["loss"]),
            "lm_loss": self.sample_means / self.samples,
            "calibration_error": self.against_text.error,
            "tokens": float(self.tokens),
        }
        if "teacher_kl" in means:
            metrics |= {name: means[name] for name in ("teacher_kl", "agreement", "confidence_gap")}
            metrics["teacher_calibration_error"] = self.against_teacher.error
        return metrics


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
