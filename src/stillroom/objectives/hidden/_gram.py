"""Inner products of Gram matrices over tokens, without the matrices where they are the larger side.

    < X X^T, Y Y^T >_F  =  || X^T Y ||_F^2                             N x N or d x D: whichever costs less
    sum_{i != j} (X X^T)_ij (Y Y^T)_ij  =  that - sum_i |x_i|^2 |y_i|^2

and, with U-centered Gram matrices (Székely & Rizzo 2014: no diagonal, rows that sum to zero without it), the unbiased
estimate of HSIC (Song et al. 2012) up to its factor. For centered features of n rows, p_i = |x_i|^2, q_i = |y_i|^2:

    < U(X X^T), U(Y Y^T) >  =  || X^T Y ||_F^2 - n / (n-2) sum p q + sum p sum q / ((n-1) (n-2))
"""

from torch import Tensor


def gram_product(first: Tensor, second: Tensor, *, diagonal: bool = True) -> Tensor:
    """Sum of products of the Gram matrices of `[...,N,d]` and `[...,N,D]`, `[...]`; rows of zeros add nothing.

    `diagonal=False` leaves out the products of rows with themselves.
    """
    rows, (width, other) = first.shape[-2], (first.shape[-1], second.shape[-1])
    if rows * (width + other) < width * other:
        product = ((first @ first.mT) * (second @ second.mT)).sum(dim=(-2, -1))
    else:
        product = (first.mT @ second).square().sum(dim=(-2, -1))
    return product if diagonal else product - (_squares(first) * _squares(second)).sum(dim=-1)


def centered_product(first: Tensor, second: Tensor, *, unbiased: bool) -> Tensor:
    """The same for centered Gram matrices: n^2 HSIC of centered `[n,d]` and `[n,D]`, or n (n-3) of its unbiased
    estimate, which needs n of at least 4."""
    product = gram_product(first, second)
    if not unbiased:
        return product
    rows, ours, theirs = first.shape[-2], _squares(first), _squares(second)
    both, means = (ours * theirs).sum(), ours.sum() * theirs.sum() / (rows - 1)
    return product + (means - rows * both) / (rows - 2)


def _squares(rows: Tensor) -> Tensor:
    return rows.square().sum(dim=-1)
