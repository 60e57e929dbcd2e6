"""What two heads say of the tokens that both vocabularies have, renormalized.

    sum_n D( softmax(z_n / T), softmax(s_n / T) )        z, s: logits of the shared tokens alone

Their rows are taken out of both heads first: the others need not be multiplied. Not out of a mixture of heads
(`HeadMixture`), of which each member is a distribution over its whole vocabulary.
"""

from dataclasses import replace

from torch import Tensor

from stillroom.core.signals import HeadMixture, HeadWeights
from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.numerics.divergence import DIVERGENCES
from stillroom.objectives._two_vocabularies import SharedTokens


def shared_divergence(
    ours: Tensor,
    head: HeadWeights,
    theirs: Tensor,
    teacher_head: HeadWeights,
    shared: SharedTokens,
    *,
    divergence: str,
    temperature: float,
    weights: Tensor,
) -> Tensor:
    """Sum over rows of student's states `[N,d]` and teacher's `[N,D]`, times `weights [N]`, in nats; a scalar. `shared`
    pairs the rows of the heads. No gradient reaches the teacher."""
    compare = DIVERGENCES[divergence]

    def of_mixture(log_p: Tensor, log_q: Tensor) -> Tensor:
        return compare(log_p.index_select(1, shared.teacher).log_softmax(dim=-1), log_q)

    mixture = isinstance(teacher_head.transform, HeadMixture)
    head = rows_of(head, shared.student)
    teacher_head = teacher_head if mixture else rows_of(teacher_head, shared.teacher)
    return linear_divergence(
        ours.to(head.weight.dtype),
        head.weight,
        theirs.to(teacher_head.weight.dtype),
        teacher_head.weight,
        divergence=of_mixture if mixture else compare,
        temperature=temperature,
        weights=weights,
        student_transform=head.transform,
        teacher_transform=teacher_head.transform,
    )


def rows_of(head: HeadWeights, ids: Tensor) -> HeadWeights:
    """A head of the tokens `ids [n]` alone; the head itself where they are all of it, in order."""
    if len(ids) == len(head.weight) and bool((ids[1:] > ids[:-1]).all()):
        return head
    bias = head.transform.bias
    bias = None if bias is None else bias.index_select(0, ids)
    return HeadWeights(head.weight.index_select(0, ids), replace(head.transform, bias=bias))
