"""Marks of predicted tokens and the best scale of logits, in float64 loops and by search."""

import math


def marks(
    logits: list[list[float]], target: list[int], previous: list[int], shift: int, outside: float
) -> dict:
    """Lists over rows: loss, entropy, hit, shifted, repeated; and information."""
    rows = [_softmax(row) for row in logits]
    found: dict = {name: [] for name in ("loss", "entropy", "hit", "shifted", "repeated")}
    for p, y, x in zip(rows, target, previous, strict=True):
        found["loss"].append(-math.log(p[y]))
        found["entropy"].append(_entropy(p))
        found["hit"].append(float(max(range(len(p)), key=lambda i: p[i]) == y))
        found["shifted"].append(-math.log(p[y + shift]) if 0 <= y + shift < len(p) else outside)
        found["repeated"].append(-math.log(p[x]))
    mean = [sum(p[i] for p in rows) / len(rows) for i in range(len(rows[0]))]
    found["information"] = _entropy(mean) - sum(found["entropy"]) / len(rows)
    return found


def scaled_loss(logits: list[list[float]], target: list[int], scale: float) -> float:
    """Mean loss after every logit was multiplied by `scale`."""
    return sum(
        -math.log(_softmax([scale * z for z in row])[y]) for row, y in zip(logits, target, strict=True)
    ) / len(logits)


def best_scale(logits: list[list[float]], target: list[int]) -> float:
    """By golden-section search over the logarithm of the scale, from 1/16 to 16."""
    low, high = math.log(1 / 16), math.log(16)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if scaled_loss(logits, target, math.exp(left)) < scaled_loss(logits, target, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _softmax(row: list[float]) -> list[float]:
    most = max(row)
    powers = [math.exp(z - most) for z in row]
    return [each / sum(powers) for each in powers]


def _entropy(p: list[float]) -> float:
    return -sum(each * math.log(each) for each in p if each > 0)
