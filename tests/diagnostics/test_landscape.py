import pytest
import torch
from tiny import tiny_llama
from torch import nn
from transformers.pytorch_utils import Conv1D

from stillroom.diagnostics.landscape import along, copied, curvature, grid, random_direction


def named(model):
    return dict(model.named_parameters())


def test_rows_are_as_long_as_those_of_the_weights_and_vectors_stay():
    model = tiny_llama(3)
    direction = random_direction(model, named(model), seed=1)
    for name, weight in named(model).items():
        if weight.ndim < 2:
            assert not direction[name].any()
        else:
            assert torch.allclose(direction[name].norm(dim=1), weight.detach().norm(dim=1), rtol=1e-4)
            assert not torch.allclose(direction[name], weight)


def test_output_units_of_transposed_matrices_are_columns():
    model = nn.Sequential(Conv1D(5, 3))  # weight [3,5], five output units
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(3, 5))
    delta = random_direction(model, named(model), seed=1)["0.weight"]
    assert torch.allclose(delta.norm(dim=0), model[0].weight.detach().norm(dim=0))
    assert not torch.allclose(delta.norm(dim=1), model[0].weight.detach().norm(dim=1))


def test_a_direction_is_a_function_of_its_seed():
    model = tiny_llama(3)
    first, again, other = (random_direction(model, named(model), seed) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_quadratic_has_its_own_curvature():
    """Loss w'Aw along d bends by 2 d'Ad."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3, bias=False).double()
    a = torch.randn(12, 12, dtype=torch.float64)
    parameters = named(layer)
    direction = random_direction(layer, parameters, seed=2)
    delta = direction["weight"].flatten()

    def loss() -> float:
        weight = layer.weight.detach().flatten()
        return float(weight @ a @ weight)

    alphas = grid(11)
    losses = along(parameters, copied(parameters), direction, alphas, loss)
    assert curvature(alphas, losses) == pytest.approx(float(2 * delta @ a @ delta), rel=1e-8)
    assert losses[5] == loss()


def test_the_grid_has_the_student_in_the_middle():
    assert grid(3) == [-1.0, 0.0, 1.0]
    assert len(grid(51)) == 51
    assert grid(51)[25] == 0


def test_weights_come_back_to_the_bit_even_after_a_failure():
    model = tiny_llama(3)
    before = copied(named(model))

    def broken() -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        along(named(model), before, random_direction(model, named(model), 0), [0.3], broken)
    assert all(torch.equal(before[name], each) for name, each in named(model).items())
