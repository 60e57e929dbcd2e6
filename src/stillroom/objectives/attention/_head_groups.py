"""Which teacher heads belong to which head of the student: neighbors, chance, or one of many.

    neighbors    sizes as equal as possible, larger groups first: 25 heads to 16 are nine pairs, then seven heads alone

Every function gives one list of ascending teacher heads to each student head, ordered by their first ones.
"""

import random
from itertools import pairwise

from stillroom.core.errors import BadInput

Groups = list[list[int]]


def neighbors(heads: int, groups: int) -> Groups:
    """Heads 0 to `heads` - 1, cut in order; `groups` is at most `heads`."""
    return _cut(list(range(heads)), groups)


def at_random(heads: int, groups: int, seed: int, layer: int) -> Groups:
    """Groups of the same sizes, of heads drawn by `seed`, each layer by itself."""
    order = list(range(heads))
    _chance(seed, layer).shuffle(order)
    return sorted(sorted(group) for group in _cut(order, groups))


def selected(heads: int, groups: int, seed: int, layer: int) -> Groups:
    """`groups` single heads out of all, drawn by `seed`, each layer by itself."""
    return [[head] for head in sorted(_chance(seed, layer).sample(range(heads), groups))]


def check_fit(groups: list[Groups], layers: list[int], heads: int, wanted: int) -> None:
    """Raise `BadInput` unless in every layer `wanted` groups name existing heads, none of them twice."""
    if len(groups) != len(layers):
        raise BadInput(
            f"groups must have one list for each of the {len(layers)} pairs of layers, got {len(groups)}"
        )
    for layer, chosen in zip(layers, groups, strict=True):
        named = sorted(head for group in chosen for head in group)
        is_known = set(named) <= set(range(heads))
        if len(chosen) != wanted or len(set(named)) < len(named) or not is_known:
            raise BadInput(
                f"groups must name for each of the student's {wanted} heads some of the teacher's heads 0 to "
                f"{heads - 1}, none of them twice, got {chosen} for teacher layer {layer}"
            )


def check_nested(groups: object) -> None:
    """Raise `BadInput` unless these are lists of lists of lists of whole numbers, none of them empty."""

    def is_nested(item: object, depth: int) -> bool:
        if depth == 0:
            return type(item) is int
        return isinstance(item, list) and bool(item) and all(is_nested(each, depth - 1) for each in item)

    if not is_nested(groups, 3):
        raise BadInput(
            f"groups must hold, for each pair of layers, a list of heads for each student head, got {groups!r}"
        )


def _cut(order: list[int], groups: int) -> Groups:
    size, larger = divmod(len(order), groups)
    edges = [number * size + min(number, larger) for number in range(groups + 1)]
    return [order[start:stop] for start, stop in pairwise(edges)]


def _chance(seed: int, layer: int) -> random.Random:
    return random.Random(f"{seed}/{layer}")
