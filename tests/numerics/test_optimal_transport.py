"""Plans against Sinkhorn as printed, at both ends of epsilon, with padding and in float32."""

import math

import pytest
import torch
from reference import optimal_transport as twin

from stillroom.numerics.optimal_transport import transport_plan, uniform_mass


def problem(batch=2, rows=4, columns=6):
    return (
        torch.rand(batch, rows, columns).double() * 2,
        torch.rand(batch, rows).double().softmax(1),
        torch.rand(batch, columns).double().softmax(1),
    )


@pytest.mark.parametrize("rounds", [1, 3, 10])
def test_every_round_equals_the_printed_one(rounds):
    cost, rows, columns = problem()
    found = transport_plan(cost, rows, columns, 0.3, rounds)
    given = zip(cost.tolist(), rows.tolist(), columns.tolist(), strict=True)
    expected = [twin.plan(*each, 0.3, rounds) for each in given]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_sums_are_those_asked_for():
    cost, rows, columns = problem()
    plan = transport_plan(cost, rows, columns, 0.5, 200)
    torch.testing.assert_close(plan.sum(1), columns)
    torch.testing.assert_close(plan.sum(2), rows)


def test_small_epsilon_is_the_best_assignment_even_in_float32():
    cost = torch.rand(3, 5, 5)
    ones = torch.ones(3, 5)
    plan = transport_plan(cost, ones, ones, 2e-3, 3000)
    assert plan.isfinite().all()
    assert plan.argmax(2).tolist() == [twin.best_assignment(table) for table in cost.tolist()]


def test_large_epsilon_goes_everywhere():
    cost, rows, columns = problem()
    plan = transport_plan(cost, rows, columns, 1e9, 2)
    torch.testing.assert_close(plan, rows[:, :, None] * columns[:, None, :])


def test_gradcheck():
    cost, rows, columns = problem(1, 3, 4)
    rows, columns = rows.index_fill(1, torch.tensor([2]), 0.0), columns
    cost.requires_grad_()
    assert torch.autograd.gradcheck(lambda c: (transport_plan(c, rows, columns, 0.4, 4) * c).sum(), cost)


@pytest.mark.parametrize("fill", [0.0, 1e9, math.inf, math.nan])
def test_what_has_no_mass_does_not_exist(fill):
    cost = torch.rand(3, 4, 5).double()
    row_count, column_count = torch.tensor([4, 2, 0]), torch.tensor([3, 5, 4])
    exists = (torch.arange(4) < row_count[:, None])[:, :, None] & (torch.arange(5) < column_count[:, None])[
        :, None
    ]
    cost = cost.where(exists, fill).requires_grad_()
    rows = uniform_mass(row_count, 4, torch.float64)
    columns = uniform_mass(column_count, 5, torch.float64)
    plan = transport_plan(cost, rows, columns, 0.2, 50)
    assert not plan[~exists].any()
    for each in range(2):
        down, across = row_count[each], column_count[each]
        part = slice(each, each + 1)
        alone = transport_plan(cost[part, :down, :across], rows[part, :down], columns[part, :across], 0.2, 50)
        torch.testing.assert_close(plan[part, :down, :across], alone)
    plan.square().sum().backward()
    assert cost.grad.isfinite().all()
    assert not cost.grad[~exists].any()


def test_uniform_mass_is_one_unit_or_none():
    expected = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
    assert torch.equal(uniform_mass(torch.tensor([2, 0]), 3), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"row_mass": torch.ones(2, 5)}, r"masses of rows \[B,S\]"),
        ({"column_mass": torch.ones(1, 6)}, r"masses of rows \[B,S\]"),
        ({"epsilon": 0.0}, "epsilon above 0"),
        ({"rounds": 0}, "at least one round"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    cost, rows, columns = problem()
    given = {"row_mass": rows, "column_mass": columns, "epsilon": 0.1} | changes
    with pytest.raises(ValueError, match=message):
        transport_plan(cost, **given)
