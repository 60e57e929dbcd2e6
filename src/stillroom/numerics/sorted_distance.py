"""How far two distributions are apart if their tokens have no names: only sorted probabilities are compared.

    sum_r |p_(r) - q_(r)|,   p_(1) >= p_(2) >= ..., the shorter of the two continued by zeros

This is the cost of the cheapest transport where moving probability between any two tokens of two vocabularies costs the
same: nothing has to be known about either.

Paper:    Boizard et al. 2024 (Universal Logit Distillation)
"""

from torch import Tensor
from torch.nn.functional import pad


def sorted_distance(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Sum of differences `[...]`, 0 to 2, from log-probabilities `[...,W]` of the teacher and `[...,V]` of the student.

    V and W may differ. Tokens that do not exist (padded rows of a head) must have -inf.
    """
    p, q = (each.exp().sort(dim=-1, descending=True).values for each in (log_p, log_q))
    missing = p.shape[-1] - q.shape[-1]
    return (pad(p, (0, max(0, -missing))) - pad(q, (0, max(0, missing)))).abs().sum(-1)
