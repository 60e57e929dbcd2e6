"""Marks of predictions against known answers: accuracy, F1, Matthews, Pearson and Spearman correlation.

    F1       = 2 TP / (2 TP + FP + FN)                              of label 1
    Matthews = (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)) labels 0 and 1
    Pearson  = cov(x, y) / (sd(x) sd(y))
    Spearman = Pearson of the ranks, equal values sharing the mean of theirs

A mark whose denominator is zero is 0, as in scikit-learn: nothing was told apart.

Paper:    Matthews (1975)
"""

import math
from collections.abc import Sequence


def accuracy(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Share of equal labels, 0 to 1."""
    return sum(p == y for p, y in zip(predictions, labels, strict=True)) / len(labels)


def f1(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """F1 of label 1, 0 to 1."""
    hit, false_alarm, missed, _ = _table(predictions, labels)
    return _ratio(2 * hit, 2 * hit + false_alarm + missed)


def matthews(predictions: Sequence[float], labels: Sequence[float]) -> float:
    """Matthews correlation of labels 0 and 1, -1 to 1."""
    hit, false_alarm, missed, rejected = _table(predictions, labels)
    columns = (hit + false_alarm) * (missed + rejected)
    rows = (hit + missed) * (false_alarm + rejected)
    return _ratio(hit * rejected - false_alarm * missed, math.sqrt(columns * rows))


def pearson(predictions: Sequence[float], answers: Sequence[float]) -> float:
    """Linear correlation, -1 to 1."""
    x, y = _centered(predictions), _centered(answers)
    product = math.fsum(a * b for a, b in zip(x, y, strict=True))
    return _ratio(product, math.sqrt(math.fsum(a * a for a in x) * math.fsum(b * b for b in y)))


def spearman(predictions: Sequence[float], answers: Sequence[float]) -> float:
    """Correlation of ranks, -1 to 1."""
    return pearson(_ranks(predictions), _ranks(answers))


def _table(predictions: Sequence[float], labels: Sequence[float]) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives, true negatives."""
    pairs = list(zip(predictions, labels, strict=True))
    return pairs.count((1, 1)), pairs.count((1, 0)), pairs.count((0, 1)), pairs.count((0, 0))


def _centered(values: Sequence[float]) -> list[float]:
    mean = math.fsum(values) / len(values)
    return [value - mean for value in values]


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    last = {value: place for place, value in enumerate(ordered)}
    return [(first[value] + last[value]) / 2 for value in values]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
