"""Which heads become one: groups of the greatest total similarity, found exactly where pairs are enough.

    max over sets of H - W disjoint pairs of   sum of s_ij over the pairs,   the other heads staying alone

Pairs of a given number are a perfect matching after H - 2 (H - W) partners without weight have been added, each of
which takes one head out; networkx finds it (blossom algorithm, on integers, so nothing depends on rounding).

Paper:    Optimizing Knowledge Distillation in Transformers: Enabling Multi-Head Attention without Alignment Barriers
          (2025, squeezing heads), "head matching" in Table 5, which does not say how pairs are chosen
Differs:  where fewer than half of the heads are wanted, pairs are matched again, as heads whose similarity is the mean
          over their members; each round is exact, their sequence need not be.
"""

from collections.abc import Sequence
from itertools import combinations

UNIT = 2.0**40
"""Similarities are counted in units of a trillionth."""


def match_heads(similarity: Sequence[Sequence[float]], wanted: int) -> list[list[int]]:
    """`wanted` groups that hold each of the H heads once, from `similarity [H][H]`, symmetric and finite.

    Heads ascend in a group, groups are ordered by their first head. Raises `ValueError` where `wanted` is not 1 to H.
    """
    heads = len(similarity)
    if not 1 <= wanted <= heads:
        raise ValueError(f"expected 1 to {heads} groups of {heads} heads, got {wanted}")
    groups = [[head] for head in range(heads)]
    while len(groups) > wanted:
        count = min(len(groups) - wanted, len(groups) // 2)
        between = {
            (one, other): _mean(similarity, groups[one], groups[other])
            for one, other in combinations(range(len(groups)), 2)
        }
        pairs = heaviest_pairs(between, len(groups), count)
        paired = {each for pair in pairs for each in pair}
        alone = [group for number, group in enumerate(groups) if number not in paired]
        groups = sorted([*alone, *(sorted(groups[one] + groups[other]) for one, other in pairs)])
    return groups


def heaviest_pairs(weights: dict[tuple[int, int], float], size: int, count: int) -> list[tuple[int, int]]:
    """`count` disjoint pairs of `0 ... size - 1` with the greatest total weight, ascending.

    `weights` has every pair (i, j) with i < j; `2 * count` must not exceed `size`.
    """
    from networkx import Graph, max_weight_matching

    graph = Graph()
    graph.add_weighted_edges_from((i, j, round(weight * UNIT)) for (i, j), weight in weights.items())
    for partner in range(size, 2 * (size - count)):
        graph.add_weighted_edges_from((each, partner, 0) for each in range(size))
    matching = max_weight_matching(graph, maxcardinality=True)
    return sorted((min(pair), max(pair)) for pair in matching if max(pair) < size)


def _mean(similarity: Sequence[Sequence[float]], one: Sequence[int], other: Sequence[int]) -> float:
    return sum(similarity[i][j] for i in one for j in other) / (len(one) * len(other))
