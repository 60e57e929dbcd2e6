"""What several teachers say together, by plain loops, in Python floats (which are float64)."""

import math

from reference.linear_divergence import softmax


def mean_of_logits(teachers, shares):
    """Logits `[N][V]` from those of each teacher `[K][N][V]`."""
    return [
        [
            sum(w * value for w, value in zip(shares, values, strict=True))
            for values in zip(*rows, strict=True)
        ]
        for rows in zip(*teachers, strict=True)
    ]


def mean_of_probabilities(teachers, shares):
    """The same; logits whose softmax is the mean of the softmaxes."""
    means = []
    for rows in zip(*teachers, strict=True):
        said = [softmax(row) for row in rows]
        means.append(
            [
                math.log(sum(w * p for w, p in zip(shares, values, strict=True)))
                for values in zip(*said, strict=True)
            ]
        )
    return means
