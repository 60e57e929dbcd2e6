"""VocAgnoLM for one text, as plain loops: tokens are (first byte, end, cross-entropy)."""

import math


def hardest(token, theirs):
    start, end, _ = token
    return max((loss for first, last, loss in theirs if last > start and first < end), default=None)


def chosen(ours, share):
    """Numbers of the tokens that are kept; `ours` are (loss, the teacher's largest or None)."""
    unmapped = [number for number, (_, largest) in enumerate(ours) if largest is None]
    gaps = [(largest - loss, number) for number, (loss, largest) in enumerate(ours) if largest is not None]
    return unmapped + [number for _, number in sorted(gaps)[: math.ceil(share * len(gaps) - 1e-9)]]


def vocagno(ours, share):
    """The sum over kept tokens, times all over kept."""
    kept = chosen(ours, share)
    return sum(ours[number][0] for number in kept) * len(ours) / len(kept) if kept else 0.0
