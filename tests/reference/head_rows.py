"""What the rows of a head say, one row and one token after the other, from logits `[N][V]`."""

import math

from reference.linear_divergence import softmax


def log_likelihood(logits, targets):
    return [math.log(softmax(row)[target]) for row, target in zip(logits, targets, strict=True)]


def statistics(logits):
    """`(entropy, largest probability, its token)` of every row; a token of probability zero adds nothing."""
    found = []
    for row in logits:
        p = softmax(row)
        best = 0
        for token, probability in enumerate(p):
            if probability > p[best]:
                best = token
        found.append((-sum(each * math.log(each) for each in p if each > 0), p[best], best))
    return found
