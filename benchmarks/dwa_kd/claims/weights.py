"""How far the entropy weights are from one, on real text, with the teacher itself in the place of its "
"projection."""

import math

import torch
from findings import Finding
from torch import Tensor

from dwa_kd.models import Text, texts
from stillroom.objectives.dual_space._entropy_weights import student_weights, teacher_weights


def findings() -> list[Finding]:
    read = texts()
    return [] if read is None else [teacher_side(read), student_side(read), by_hand(read)]


def spread(weights: Tensor) -> dict[str, float]:
    low, high = weights.quantile(torch.tensor([0.1, 0.9], dtype=weights.dtype)).tolist()
    return {"deviation": weights.std().item(), "lowest tenth below": low, "highest tenth above": high}


def teacher_side(read: Text) -> Finding:
    weights = teacher_weights(read.teacher_entropy, read.vocab_size, read.lengths)
    worst = weights[read.teacher_entropy.topk(len(weights) // 10).indices].mean().item()
    share = (read.teacher_entropy / math.log(read.vocab_size)).mean().item()
    return Finding(
        "teacher's weights",
        "The student learns from tokens where the teacher is confident, while ignoring uncertain teacher "
        "tokens (3.2)",
        "holds in part",
        f"The teacher's entropy is {share:.2f} of log W on average; after rescaling the tenth of tokens "
        f"where it is least certain still weighs {worst:.2f} of the mean. "
        "A larger vocabulary makes log W larger and the weights more alike.",
        spread(weights) | {"most uncertain tenth": worst},
    )


def student_side(read: Text) -> Finding:
    weights = student_weights(read.student_entropy, read.confidence, read.lengths, before_confidence=False)
    parts = {"H": read.student_entropy, "g": read.confidence, "H g": weights}
    gain = read.student_loss - read.teacher_loss
    rows = [
        {"weight": name, "correlation with what the teacher knows better": _correlation(each, gain)}
        for name, each in parts.items()
    ]
    opposed = _correlation(read.student_entropy, read.confidence)
    return Finding(
        "student's weights",
        "A token is important when the student is uncertain and the teacher's target is reliable (Eq 12)",
        "holds in part",
        "Both at once are rare: where the student is uncertain the teacher is, too (correlation of H and g "
        f"{opposed:.2f}). H varies by {_variation(read.student_entropy):.2f} of its mean and g by "
        f"{_variation(read.confidence):.2f}, so that the weight is mostly the confidence (correlation "
        f"{_correlation(weights, read.confidence):.2f}). "
        "Its correlation with the loss that the teacher would save is "
        f"{rows[2]['correlation with what the teacher knows better']:.2f} "
        f"({rows[0]['correlation with what the teacher knows better']:.2f} for H alone, "
        f"{rows[1]['correlation with what the teacher knows better']:.2f} for g alone).",
        {"table": rows} | spread(weights) | {"H and g": opposed},
    )


def by_hand(read: Text) -> Finding:
    paper = student_weights(read.student_entropy, read.confidence, read.lengths, before_confidence=False)
    code = student_weights(read.student_entropy, read.confidence, read.lengths, before_confidence=True)
    return Finding(
        "rescaling",
        "Weights are scaled so that their sum equals the sequence length (3.2)",
        "holds in part",
        f"In the text: their mean is {paper.mean().item():.2f}. The public program rescales the entropy and "
        f"multiplies by the confidence afterwards: a mean of {code.mean().item():.2f}, so the "
        "student's space counts for less the less certain the projected teacher is.",
        {"paper": paper.mean().item(), "program": code.mean().item()},
    )


def _variation(weights: Tensor) -> float:
    return (weights.std() / weights.mean()).item()


def _correlation(first: Tensor, second: Tensor) -> float:
    return torch.corrcoef(torch.stack([first, second]))[0, 1].item()
