"""Top-k outcomes by plain loops: k tokens of the teacher, and one event for all others."""

import math


def merged(probabilities, ids):
    """The probability of each token of `ids`, and of all others together."""
    others = sum(p for token, p in enumerate(probabilities) if token not in ids)
    return [probabilities[token] for token in ids] + [others]


def likeliest(probabilities, k):
    return sorted(range(len(probabilities)), key=lambda token: -probabilities[token])[:k]


def renormalized(probabilities, ids):
    """What is not done: the k tokens as if there were no others."""
    kept = [probabilities[token] for token in ids]
    return [p / sum(kept) for p in kept]


def top_divergence(twin, teacher_logits, student_logits, k, temperature=1.0, **settings):
    """`twin(p, q, still)` over merged outcomes of one row."""
    p = softmax([each / temperature for each in teacher_logits])
    q = softmax([each / temperature for each in student_logits])
    ids = likeliest(p, k)
    return twin(merged(p, ids), merged(q, ids), merged(q, ids), **settings)


def gradient(twin, teacher_logits, student_logits, k, temperature=1.0, step=1e-6, **settings):
    """Central differences with respect to the student's logits; what carries no gradient is held still."""
    p = softmax([each / temperature for each in teacher_logits])
    ids = likeliest(p, k)
    p = merged(p, ids)
    still = merged(softmax([each / temperature for each in student_logits]), ids)
    found = []
    for token in range(len(student_logits)):
        ends = []
        for sign in (1, -1):
            moved = list(student_logits)
            moved[token] += sign * step
            q = merged(softmax([each / temperature for each in moved]), ids)
            ends.append(twin(p, q, still, **settings))
        found.append((ends[0] - ends[1]) / (2 * step))
    return found


def softmax(logits):
    top = max(logits)
    powers = [math.exp(each - top) for each in logits]
    return [each / sum(powers) for each in powers]
