"""Groups of heads against every way to choose them."""

import random
from collections.abc import Iterator

import pytest

from stillroom.numerics.head_matching import heaviest_pairs, match_heads


def matchings(left: list[int], count: int) -> Iterator[list[tuple[int, int]]]:
    """Every set of `count` disjoint pairs."""
    if count == 0:
        yield []
        return
    if len(left) < 2 * count:
        return
    first, *others = left
    yield from matchings(others, count)
    for other in others:
        rest = [each for each in others if each != other]
        for pairs in matchings(rest, count - 1):
            yield [(first, other), *pairs]


def likeness(heads: int, seed: int) -> list[list[float]]:
    draw = random.Random(seed)
    table = [[1.0] * heads for _ in range(heads)]
    for i in range(heads):
        for j in range(i):
            table[i][j] = table[j][i] = draw.random()
    return table


def weight(table: list[list[float]], pairs: list[tuple[int, int]]) -> float:
    return sum(table[i][j] for i, j in pairs)


@pytest.mark.parametrize("heads", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_the_best_of_all(heads: int, seed: int) -> None:
    table = likeness(heads, seed)
    for count in range(1, heads // 2 + 1):
        best = max(weight(table, pairs) for pairs in matchings(list(range(heads)), count))
        groups = match_heads(table, heads - count)
        pairs = [tuple(group) for group in groups if len(group) == 2]
        assert len(groups) == heads - count
        assert len(pairs) == count, "one step merges pairs only"
        assert weight(table, pairs) == pytest.approx(best, abs=1e-9)


def test_greed_would_lose() -> None:
    """0 and 1 are the most alike, and taking them leaves two heads that are not alike at all."""
    weights = {(0, 1): 0.9, (0, 2): 0.8, (1, 3): 0.8, (0, 3): 0.1, (1, 2): 0.1, (2, 3): 0.0}
    assert heaviest_pairs(weights, 4, 2) == [(0, 2), (1, 3)]
    assert heaviest_pairs(weights, 4, 1) == [(0, 1)], "one pair alone takes the best"


def test_the_paper_s_sizes() -> None:
    for heads, wanted, sizes in ((25, 16, {1: 7, 2: 9}), (40, 32, {1: 24, 2: 8}), (32, 8, {4: 8})):
        groups = match_heads(likeness(heads, 1), wanted)
        assert {size: sum(len(group) == size for group in groups) for size in map(len, groups)} == sizes


@pytest.mark.parametrize(("heads", "wanted"), [(25, 12), (7, 2), (5, 1), (4, 4), (1, 1)])
def test_every_head_is_in_one_group(heads: int, wanted: int) -> None:
    groups = match_heads(likeness(heads, 3), wanted)
    assert len(groups) == wanted
    assert sorted(head for group in groups for head in group) == list(range(heads))
    assert groups == sorted(sorted(group) for group in groups)


def test_names_of_heads_do_not_matter() -> None:
    table = likeness(7, 5)
    order = [3, 1, 6, 0, 2, 5, 4]
    moved = [[table[i][j] for j in order] for i in order]
    back = sorted(sorted(order[head] for head in group) for group in match_heads(moved, 4))
    assert back == match_heads(table, 4)


@pytest.mark.parametrize("wanted", [0, 5])
def test_impossible_numbers_are_refused(wanted: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 4 groups of 4 heads, got {wanted}"):
        match_heads(likeness(4, 0), wanted)
