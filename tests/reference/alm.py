"""ALM for one text, as plain loops: tokens are (end, log-probability, log-probability that a word ends behind it)."""

import math

EPS = 1e-6


def log_of_rest(x):
    return math.log1p(-math.exp(x)) if x < -math.log(2) else math.log(-math.expm1(x))


def cross_entropy(p, q):
    """As published, of the logarithms."""
    return -(math.exp(p) * q + (1 - math.exp(p)) * log_of_rest(q))


def binary_kl(p, q):
    return cross_entropy(p, q) - cross_entropy(p, p)


DIFFERENCES = {
    "binary_kl": binary_kl,
    "reverse_binary_kl": lambda p, q: binary_kl(q, p),
    "absolute": lambda p, q: abs(p - q),
    "absolute_probability": lambda p, q: abs(math.exp(p) - math.exp(q)),
    "limit": lambda p, q: (p - q) + p * math.log(-q) - p * math.log(-p),
}


def chunks(ours, theirs):
    """Lists of tokens of both sides which end at the same byte, one chunk after the other."""
    shared = sorted({end for end, *_ in ours} & {end for end, *_ in theirs})
    found, start = [], -math.inf
    for end in shared:
        found.append([[token for token in side if start < token[0] <= end] for side in (ours, theirs)])
        start = end
    return [each for each in found if all(token[1] is not None for side in each for token in side)]


def alm(ours, theirs, difference, temperature, debias, threshold):
    """The sum over chunks, times the temperature, and how many chunks there are."""
    pieces = chunks(ours, theirs)
    spans, open_span = [], []
    for number, piece in enumerate(pieces):
        open_span.append(piece)
        known = all(side[-1][2] is not None for side in piece)
        likely = not known or threshold is None or math.exp(piece[1][-1][2]) > threshold
        if likely or number + 1 == len(pieces):
            spans.append(open_span)
            open_span = []
    total = 0.0
    for span in spans:
        q, p = (sum(token[1] for piece in span for token in piece[side]) for side in (0, 1))
        last = [side[-1][2] for side in span[-1]]
        if debias and None not in last:
            q, p = q + last[0], p + last[1]
        total += DIFFERENCES[difference](p / temperature - EPS, q / temperature - EPS)
    return temperature * total * len(pieces) / max(1, len(spans)), len(pieces)
