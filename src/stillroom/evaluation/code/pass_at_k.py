"""pass@k: the chance that one of k programs for a task passes its tests, from n programs of which c pass.

    pass@k = mean over tasks of  1 - C(n - c, k) / C(n, k)  =  1 - prod_{i=n-c+1..n} (1 - k / i)

which has no bias; 1 - (1 - c/n)^k has.

Paper:    Chen et al. (2021), Evaluating large language models trained on code, https://arxiv.org/abs/2107.03374
"""

import math
from collections.abc import Sequence

from stillroom.core.errors import BadInput


def pass_at_k(passed: Sequence[int], samples: int, k: int) -> float:
    """`passed[i]` of the `samples` programs for task i pass; 0 to 1. `BadInput` where k exceeds `samples`.

    >>> pass_at_k([1, 0], samples=2, k=1)
    0.25
    """
    if not 1 <= k <= samples:
        raise BadInput(
            f"pass@{k} needs at least {max(k, 1)} programs for each task, got {samples}; "
            "raise samples_per_task or lower k."
        )
    if not passed or not all(0 <= count <= samples for count in passed):
        raise BadInput(f"pass@{k} needs, for at least one task, a count between 0 and {samples}.")
    chances = [
        1 - math.prod(1 - k / number for number in range(samples - count + 1, samples + 1))
        for count in passed
    ]
    return math.fsum(chances) / len(chances)
