"""Rows that are moved to the front."""

import torch

from stillroom.objectives._packed import packed


def test_it_moves_to_the_front_and_lets_no_other_state_in():
    states = torch.arange(12.0).reshape(2, 3, 2)
    states[0, 1] = torch.nan
    front = packed(states, torch.tensor([[True, False, True], [False, False, True]]))
    assert front.tolist() == [[[0, 1], [4, 5]], [[10, 11], [0, 0]]]


def test_nothing_is_one_zero():
    assert packed(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)).tolist() == [[0], [0]]
    assert packed(torch.ones(0, 3), torch.zeros(0, 3, dtype=torch.bool)).shape == (0, 1)
