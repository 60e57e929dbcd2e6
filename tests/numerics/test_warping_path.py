"""Hard time warping with its path: against every path there is, against the plain walk, and what padding may hold."""

import itertools

import pytest
import torch
from reference import mined as twin
from reference.warping import paths

from stillroom.numerics.warping_path import warping_path

ORDERS = list(itertools.permutations(["diagonal", "row", "column"]))
SHAPES = [(1, 1), (1, 5), (5, 1), (4, 4), (3, 6), (6, 3)]


def tables(batch, height, width, most, seed=0):
    """Small whole numbers: many paths cost the same."""
    return torch.randint(most, (batch, height, width), generator=torch.Generator().manual_seed(seed))


def cells(path):
    return [tuple(cell) for cell in path.nonzero().tolist()]


def best_of_all(cost, ties):
    """The cheapest of all paths, and among those the one whose steps, read from the end, come first in `ties`."""
    ranks = [twin.STEPS[step] for step in ties]

    def rank(path):
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(path)]
        return sum(cost[i][j] for i, j in path), [ranks.index(step) for step in reversed(steps)]

    return min(paths(len(cost), len(cost[0])), key=rank)


@pytest.mark.parametrize("ties", ORDERS, ids="-".join)
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_it_is_the_best_of_all_paths(height, width, ties):
    cost = tables(6, height, width, most=3)
    for path, table in zip(warping_path(cost, ties=ties), cost.tolist(), strict=True):
        assert cells(path) == best_of_all(table, ties) == twin.warping_path(table, ties)


@pytest.mark.parametrize("ties", ORDERS, ids="-".join)
def test_longer_tables_of_unequal_samples(ties):
    rows, columns = torch.tensor([31, 7, 1, 40]), torch.tensor([29, 44, 44, 1])
    cost = tables(4, 40, 44, most=5, seed=1).float()
    for each, (down, across) in enumerate(zip(rows, columns, strict=True)):
        cost[each, down:] = torch.nan
        cost[each, :, across:] = torch.nan
    found = warping_path(cost, rows, columns, ties)
    for path, table, down, across in zip(found, cost, rows, columns, strict=True):
        assert cells(path) == twin.warping_path(table[:down, :across].tolist(), ties)


def test_empty_samples_have_no_path():
    found = warping_path(tables(3, 4, 5, 3), torch.tensor([0, 4, 4]), torch.tensor([5, 0, 5]))
    assert found.any((1, 2)).tolist() == [False, False, True]
    for shape in ((2, 0, 3), (2, 3, 0), (0, 3, 3)):
        assert warping_path(torch.zeros(shape)).shape == shape


def test_forbidden_cells_are_not_crossed():
    cost = torch.zeros(2, 5, 5)
    cost[0, 1:4, 2] = torch.inf
    cost[1, 2] = torch.inf
    path, none = warping_path(cost)
    assert path[0, 0]
    assert path[4, 4]
    assert not path[1:4, 2].any()
    assert not none.any()


@pytest.mark.parametrize(
    ("cost", "settings", "message"),
    [
        (torch.zeros(3, 3), {}, "sample, row and column"),
        (torch.zeros(1, 3, 3), {"ties": ("row", "column")}, "diagonal, row, column once"),
        (torch.zeros(1, 3, 3), {"ties": ("row", "row", "column")}, "once in ties, got row, row, column"),
        (torch.zeros(1, 3, 3), {"rows": torch.tensor([4])}, "1 lengths of 0 to 3"),
        (torch.zeros(1, 3, 3), {"columns": torch.tensor([1, 1])}, "1 lengths of 0 to 3"),
    ],
)
def test_what_does_not_fit_is_refused(cost, settings, message):
    with pytest.raises(ValueError, match=message):
        warping_path(cost, **settings)
