"""Cosines of gradients with plain loops over Python floats, one flat gradient for each term."""

import math


def cosine(first: list[float], second: list[float]) -> float:
    dot = sum(a * b for a, b in zip(first, second, strict=True))
    return dot / math.sqrt(sum(a * a for a in first)) / math.sqrt(sum(b * b for b in second))


def statistics(pairs: list[tuple[list[float], list[float]]]) -> dict[str, float]:
    """Of one pair of terms over batches; sample standard deviation."""
    cosines = [cosine(first, second) for first, second in pairs]
    mean = sum(cosines) / len(cosines)
    logs = [
        0.5 * (math.log(sum(a * a for a in first)) - math.log(sum(b * b for b in second)))
        for first, second in pairs
    ]
    return {
        "cosine": mean,
        "cosine_sd": math.sqrt(sum((each - mean) ** 2 for each in cosines) / (len(cosines) - 1)),
        "absolute_cosine": sum(map(abs, cosines)) / len(cosines),
        "opposition": sum(1 - each for each in cosines) / len(cosines),
        "conflict_rate": sum(each < 0 for each in cosines) / len(cosines),
        "norm_ratio": math.exp(sum(logs) / len(logs)),
    }
