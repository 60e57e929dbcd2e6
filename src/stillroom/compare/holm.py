"""Many variants, one question: Holm's correction of p-values for the number of variants that were tried.

    sorted p_(1) <= ... <= p_(k):   adjusted p_(i) = max over j <= i of min(1, (k - j + 1) p_(j))

Holm 1979, "A simple sequentially rejective multiple test procedure". Holds whatever the variants have in common. One
family is one metric: all variants against the one they are paired with.
"""

from collections.abc import Mapping


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values by the same names."""
    adjusted, worst = {}, 0.0
    for place, (name, value) in enumerate(sorted(p.items(), key=lambda pair: pair[1])):
        worst = max(worst, min(1.0, (len(p) - place) * value))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p}
