"""Choosing between continuations by their likelihood, with loops and in float64."""

import math
from collections.abc import Callable, Sequence


def log_likelihood(
    next_token_logits: Callable[[Sequence[int]], Sequence[float]],
    context: Sequence[int],
    continuation: Sequence[int],
) -> float:
    """Sum of log probabilities of the continuation, one forward pass a token."""
    total = 0.0
    for place, token in enumerate(continuation):
        logits = next_token_logits([*context, *continuation[:place]])
        largest = max(logits)
        total += logits[token] - largest - math.log(sum(math.exp(each - largest) for each in logits))
    return total


def choose(likelihoods: Sequence[float]) -> int:
    """The first of the likeliest."""
    return max(range(len(likelihoods)), key=lambda index: (likelihoods[index], -index))
