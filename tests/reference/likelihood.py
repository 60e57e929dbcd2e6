"""Held-out loss, KL to the teacher, agreement and calibration in float64, one token after the other."""

import math
from collections.abc import Sequence

from reference.calibration import calibration_error


def log_softmax(scores: Sequence[float]) -> list[float]:
    top = max(scores)
    total = math.fsum(math.exp(score - top) for score in scores)
    return [score - top - math.log(total) for score in scores]


def likelihood(
    samples: Sequence[tuple[Sequence[int], Sequence[bool]]],
    student_logits: Sequence[Sequence[Sequence[float]]],
    teacher_logits: Sequence[Sequence[Sequence[float]]],
) -> dict[str, float]:
    """`samples` are (ids, response mask); logits are indexed by sample, position, token."""
    losses, divergences, agreed, sample_means = [], [], [], []
    confidence, correct, gaps = [], [], []
    for number, (ids, mask) in enumerate(samples):
        before = len(losses)
        for place in range(1, len(ids)):
            if not mask[place]:
                continue
            ours, theirs = student_logits[number][place - 1], teacher_logits[number][place - 1]
            log_q, log_p = log_softmax(ours), log_softmax(theirs)
            losses.append(-log_q[ids[place]])
            divergences.append(math.fsum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True)))
            agreed.append(ours.index(max(ours)) == theirs.index(max(theirs)))
            correct.append(ours.index(max(ours)) == ids[place])
            confidence.append(math.exp(max(log_q)))
            gaps.append(abs(math.exp(max(log_p)) - math.exp(max(log_q))))
        if len(losses) > before:
            sample_means.append(math.fsum(losses[before:]) / (len(losses) - before))
    count = len(losses)
    loss = math.fsum(losses) / count
    return {
        "loss": loss,
        "perplexity": math.exp(loss),
        "lm_loss": math.fsum(sample_means) / len(sample_means),
        "calibration_error": calibration_error(confidence, correct),
        "tokens": float(count),
        "teacher_kl": math.fsum(divergences) / count,
        "agreement": sum(agreed) / count,
        "confidence_gap": math.fsum(gaps) / count,
        "teacher_calibration_error": calibration_error(confidence, agreed),
    }
