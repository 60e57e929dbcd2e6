"""Holm's adjusted p-values by the words of the definition: the smallest level at which the stepwise test rejects."""


def rejected(ps, level):
    """Which hypotheses Holm's procedure rejects at a level: step down until one p is above level / (k - step)."""
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    out = [False] * len(ps)
    for step, i in enumerate(order):
        if ps[i] > level / (len(ps) - step):
            break
        out[i] = True
    return out
