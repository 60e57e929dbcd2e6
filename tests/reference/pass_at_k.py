"""pass@k by looking at every choice of k programs."""

from itertools import combinations


def pass_at_k(outcomes: list[list[bool]], k: int) -> float:
    """`outcomes[task][program]`; the share of choices with a program that passes, averaged over tasks."""
    total = 0.0
    for programs in outcomes:
        choices = list(combinations(programs, k))
        total += sum(any(choice) for choice in choices) / len(choices)
    return total / len(outcomes)
