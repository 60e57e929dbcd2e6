"""Soft-DTW against all paths, against a plain loop, at its limits and under its symmetries."""

import math

import pytest
import torch
from reference import warping as twin

from stillroom.numerics.warping import expected_alignment, soft_dtw, soft_dtw_divergence

SHAPES = [(1, 1), (1, 6), (6, 1), (2, 2), (4, 7), (9, 5), (8, 8), (2, 70), (33, 40)]
"""The last two go over several runs of diagonals."""


def costs(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) * 2


def distances(batch: int, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Costs between two sequences and of each with itself."""
    first, second = torch.randn(batch, rows, 3).double(), torch.randn(batch, columns, 3).double()
    return torch.cdist(first, second), torch.cdist(first, first), torch.cdist(second, second)


def value_and_alignment(cost, gamma, *lengths):
    cost = cost.clone().requires_grad_()
    values = soft_dtw(cost, gamma, *lengths)
    (gradient,) = torch.autograd.grad(values.sum(), cost)
    return values.detach(), gradient


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (3, 4), (5, 4)])
@pytest.mark.parametrize("gamma", [0.05, 1.0, 7.0])
def test_it_is_the_sum_over_all_paths(rows, columns, gamma):
    cost = costs(1, rows, columns)
    value, alignment = value_and_alignment(cost, gamma)
    expected, shares = twin.by_paths(cost[0].tolist(), gamma)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(
        alignment[0], torch.tensor(shares, dtype=torch.float64), atol=1e-12, rtol=1e-12
    )


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("gamma", [0.01, 0.8, 3.0])
def test_value_and_gradient_equal_the_plain_loop(rows, columns, gamma):
    cost = costs(3, rows, columns, seed=1)
    values, alignments = value_and_alignment(cost, gamma)
    for value, alignment, table in zip(values, alignments, cost.tolist(), strict=True):
        expected, shares = twin.soft_dtw(table, gamma)
        assert value.item() == pytest.approx(expected, rel=1e-12)
        torch.testing.assert_close(
            alignment, torch.tensor(shares, dtype=torch.float64), atol=1e-12, rtol=1e-11
        )


def test_gradcheck():
    lengths = torch.tensor([4, 2]), torch.tensor([3, 5])
    cost = costs(2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda c: soft_dtw(c, 0.7, *lengths), cost)
    three = [each.requires_grad_() for each in (costs(2, 4, 5), costs(2, 4, 4), costs(2, 5, 5))]
    assert torch.autograd.gradcheck(lambda *c: soft_dtw_divergence(*c, 0.7, *lengths), three)


def test_second_derivatives_are_refused_not_wrong():
    cost = costs(1, 3, 3).requires_grad_()
    (gradient,) = torch.autograd.grad((soft_dtw(cost, 1.0) * cost.sum()).sum(), cost, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_only_the_alignment_is_kept():
    cost, kept = costs(2, 9, 12, dtype=torch.float32).requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        soft_dtw(cost, 1.0)
    assert [each.untyped_storage().nbytes() for each in kept] == [2 * 9 * 12 * 4]


def test_slopes_of_samples_are_their_own():
    cost = costs(3, 4, 5).requires_grad_()
    slopes = torch.tensor([0.0, -2.0, 0.5]).double()
    (gradient,) = torch.autograd.grad(soft_dtw(cost, 0.5), cost, slopes)
    torch.testing.assert_close(gradient, expected_alignment(cost, 0.5) * slopes[:, None, None])


@pytest.mark.parametrize("fill", [0.0, 1e9, -1e9, math.inf, math.nan])
def test_padding_does_not_count_whatever_it_holds(fill):
    rows, columns = torch.tensor([3, 50, 1, 31, 17, 50, 2]), torch.tensor([6, 2, 1, 40, 15, 44, 44])
    cost = costs(7, 50, 44)
    for each, (down, across) in enumerate(zip(rows, columns, strict=True)):
        cost[each, down:] = fill
        cost[each, :, across:] = fill
    values, alignments = value_and_alignment(cost, 0.3, rows, columns)
    for each, (down, across) in enumerate(zip(rows, columns, strict=True)):
        alone = cost[each : each + 1, :down, :across]
        value, alignment = value_and_alignment(alone, 0.3)
        torch.testing.assert_close(values[each], value[0])
        torch.testing.assert_close(alignments[each, :down, :across], alignment[0])
        assert alignments[each].count_nonzero() == alignment.count_nonzero()


def test_split_batches_give_the_same():
    cost = costs(5, 6, 9)
    whole = expected_alignment(cost, 0.2)
    torch.testing.assert_close(torch.cat([expected_alignment(part, 0.2) for part in cost.split(2)]), whole)


def test_empty_samples_cost_nothing():
    rows, columns = torch.tensor([0, 3, 0, 3]), torch.tensor([4, 0, 0, 4])
    values, alignments = value_and_alignment(costs(4, 3, 4), 1.0, rows, columns)
    assert values[:3].tolist() == [0.0] * 3
    assert values[3] != 0
    assert not alignments[:3].any()
    nothing = torch.zeros(4, dtype=torch.long)
    three = costs(4, 3, 4), costs(4, 3, 3), costs(4, 4, 4)
    assert not soft_dtw_divergence(*three, 1.0, nothing, nothing).any()


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 3, 0), (0, 3, 3)])
def test_tables_without_cells_cost_nothing(shape):
    value, alignment = value_and_alignment(costs(*shape), 1.0)
    assert value.tolist() == [0.0] * shape[0]
    assert alignment.shape == shape


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_transposed_and_reversed_tables(rows, columns):
    cost = costs(2, rows, columns, seed=3)
    value, alignment = value_and_alignment(cost, 0.4)
    flipped_value, flipped = value_and_alignment(cost.mT, 0.4)
    torch.testing.assert_close(flipped_value, value)
    torch.testing.assert_close(flipped.mT, alignment)
    backward_value, backward = value_and_alignment(cost.flip(1, 2), 0.4)
    torch.testing.assert_close(backward_value, value)
    torch.testing.assert_close(backward.flip(1, 2), alignment)


def test_alignment_is_a_chance_and_paths_pass_every_row_and_column():
    lengths = torch.tensor([11, 4]), torch.tensor([9, 9])
    alignment = expected_alignment(costs(2, 11, 9), 0.6, *lengths)
    assert alignment.min() >= 0
    assert alignment.max() <= 1 + 1e-12
    assert (alignment.sum(2)[0] >= 1 - 1e-12).all()
    assert (alignment.sum(1) >= 1 - 1e-12).all()
    for each, (down, across) in enumerate(zip(*lengths, strict=True)):
        assert alignment[each, 0, 0] == pytest.approx(1)
        assert alignment[each, down - 1, across - 1] == pytest.approx(1)


def test_small_gamma_is_hard_dtw():
    cost = costs(2, 12, 15, seed=4)
    values, alignments = value_and_alignment(cost, 1e-4)
    for value, alignment, table in zip(values, alignments, cost.tolist(), strict=True):
        expected, path = twin.hard_dtw(table)
        assert value.item() == pytest.approx(expected, abs=1e-3)
        assert value.item() <= expected + 1e-12
        assert [tuple(cell) for cell in (alignment > 0.5).nonzero().tolist()] == path


def test_free_paths_are_counted():
    value = soft_dtw(torch.zeros(1, 5, 7).double(), 2.0)
    assert value.item() == pytest.approx(-2.0 * math.log(len(twin.paths(5, 7))))


def test_a_constant_on_the_last_cell_moves_the_value_alone():
    cost = costs(1, 5, 6)
    value, alignment = value_and_alignment(cost, 0.5)
    cost[0, -1, -1] += 3.0
    moved, same = value_and_alignment(cost, 0.5)
    torch.testing.assert_close(moved, value + 3.0)
    torch.testing.assert_close(same, alignment)


@pytest.mark.parametrize(
    ("gamma", "error"), [(1e-3, 1e-4), (0.01, 1e-4), (0.1, 3e-5), (1.0, 2e-6), (10.0, 2e-6)]
)
def test_float32_is_close_to_float64_over_hundreds_of_steps(gamma, error):
    cost = costs(2, 220, 180, seed=5, dtype=torch.float32)
    value, alignment = value_and_alignment(cost, gamma)
    truth, true_alignment = value_and_alignment(cost.double(), gamma)
    assert value.dtype == alignment.dtype == torch.float32
    torch.testing.assert_close(value.double(), truth, rtol=5e-7, atol=0)
    torch.testing.assert_close(alignment.double(), true_alignment, rtol=0, atol=error)


def test_long_tables_neither_overflow_nor_lose_their_mass():
    cost = costs(1, 500, 400, seed=6, dtype=torch.float32) * 1e4
    value, alignment = value_and_alignment(cost, 1e-3)
    assert value.isfinite().all()
    assert alignment[0, 0, 0] == 1
    assert (alignment[0].sum(1) >= 1 - 1e-6).all()


def test_forbidden_cells_are_not_crossed():
    cost = costs(1, 5, 5)
    cost[0, 1:4, 2] = math.inf
    value, alignment = value_and_alignment(cost, 0.5)
    assert alignment.isfinite().all()
    assert not alignment[0, 1:4, 2].any()
    huge = cost.nan_to_num(posinf=1e6)
    assert value.item() == pytest.approx(twin.soft_dtw(huge[0].tolist(), 0.5)[0])


def test_where_no_path_is_left_the_value_is_infinite_and_the_gradient_zero():
    cost = costs(2, 4, 5)
    cost[0, 2] = math.inf
    value, alignment = value_and_alignment(cost, 0.5)
    assert value[0] == math.inf
    assert not alignment[0].any()
    assert value[1].isfinite()


def test_a_cost_that_is_no_number_is_seen():
    cost = costs(2, 4, 5)
    cost[0, 1, 1] = math.nan
    value, alignment = value_and_alignment(cost, 0.5)
    assert value.isnan().tolist() == [True, False]
    assert alignment[1].isfinite().all()


def test_divergence_is_zero_for_equal_sequences_and_equals_its_twin():
    cross, row_self, column_self = distances(3, 5, 7)
    assert not soft_dtw_divergence(row_self, row_self, row_self, 0.9).any()
    found = soft_dtw_divergence(cross, row_self, column_self, 0.9)
    tables = zip(cross.tolist(), row_self.tolist(), column_self.tolist(), strict=True)
    expected = [twin.divergence(*three, 0.9) for three in tables]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert (found > 0).all()


def test_divergence_of_padded_sequences():
    cross, row_self, column_self = distances(2, 5, 7)
    rows, columns = torch.tensor([3, 5]), torch.tensor([7, 4])
    found = soft_dtw_divergence(cross, row_self, column_self, 0.9, rows, columns)
    for each, (down, across) in enumerate(zip(rows, columns, strict=True)):
        alone = cross[each, :down, :across], row_self[each, :down, :down], column_self[each, :across, :across]
        assert found[each].item() == pytest.approx(twin.divergence(*(a.tolist() for a in alone), 0.9))


@pytest.mark.parametrize(
    ("cost", "gamma", "lengths", "message"),
    [
        (torch.zeros(4, 5), 1.0, {}, "sample, row and column"),
        (torch.zeros(2, 4, 5).half(), 1.0, {}, "float16"),
        (torch.zeros(2, 4, 5), 0.0, {}, "gamma above 0"),
        (torch.zeros(2, 4, 5), math.inf, {}, "gamma above 0"),
        (torch.zeros(2, 4, 5), 1.0, {"rows": torch.tensor([5, 1])}, "at most 4 rows"),
        (torch.zeros(2, 4, 5), 1.0, {"columns": torch.tensor([-1, 1])}, "at most 5 columns"),
        (torch.zeros(2, 4, 5), 1.0, {"columns": torch.tensor([1])}, "2 whole numbers of columns"),
        (torch.zeros(2, 4, 5), 1.0, {"rows": torch.ones(2)}, "2 whole numbers of rows"),
    ],
)
def test_what_does_not_fit_is_refused(cost, gamma, lengths, message):
    with pytest.raises(ValueError, match=message):
        soft_dtw(cost, gamma, **lengths)


def test_costs_of_another_sequence_are_refused():
    cross, row_self, column_self = distances(2, 3, 4)
    with pytest.raises(ValueError, match=r"3 rows and of the 4 columns .* \(2, 4, 4\) and \(2, 3, 3\)"):
        soft_dtw_divergence(cross, column_self, row_self, 1.0)
