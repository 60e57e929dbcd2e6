"""What training takes, term by term, and nothing left behind by having looked."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from stillroom.recipe.forecast import (
    ACTIVATIONS,
    GRADIENTS,
    OPTIMIZER,
    TEACHER,
    WEIGHTS,
    Forecast,
    available_memory,
    no_trace,
    states,
)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [("adamw_torch", 2.0), ("adamw_torch_fused", 2.0), ("adamw_8bit", 0.5), ("sgd", 0.0), ("lion_32bit", 1.0),
     ("adafactor", 0.1), ("paged_adamw_8bit", 0.5), ("some_new_one", 2.0)],
)  # fmt: skip
def test_optimizers_keep_what_they_keep(name, numbers):
    assert states(name) == numbers


def test_momentum_is_one_more_number():
    assert states("sgd", momentum=True) == 1.0


def test_the_term_that_does_not_fit_is_named():
    terms = {WEIGHTS: 10, TEACHER: 40, GRADIENTS: 10, OPTIMIZER: 20, ACTIVATIONS: 5}
    assert Forecast(terms, available=85).too_large is None
    assert Forecast(terms, available=84).too_large == ACTIVATIONS
    assert Forecast(terms, available=70).too_large == OPTIMIZER
    assert Forecast(terms, available=49).too_large == TEACHER
    assert Forecast(terms, 85, step_seconds=0.5, steps=10).seconds == 5


def test_there_is_some_memory():
    assert available_memory(torch.device("cpu")) > 2**20


def test_nothing_is_left_behind():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    model.eval()
    model[1].train()
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with no_trace(model, torch.device("cpu")):
        assert model[0].training
        model(torch.randn(2, 3)).sum().backward()
        np.random.rand()
        random.random()
    assert not model[0].training
    assert model[1].training
    assert all(each.grad is None for each in model.parameters())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]
