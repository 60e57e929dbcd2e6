"""Cross-entropy against a plain loop."""

import math

import pytest
import torch
from reference.divergences import softmax

from stillroom import objectives
from stillroom.core.batch import Batch, Side
from stillroom.core.signals import FinalHidden, Head, HeadTransform, HeadWeights, Signals
from stillroom.testing import STUDENT, TEACHER


def test_value_is_the_sum_over_trained_tokens():
    torch.manual_seed(0)
    ids = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]).bool()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    side = Side(ids, real, mask)
    head = HeadWeights(torch.randn(10, 4), HeadTransform(bias=torch.randn(10)))
    hidden = torch.randn(2, 5, 4)
    loss = objectives.find("hard.cross_entropy")()(
        Signals({FinalHidden(): hidden, Head(): head}), Signals({}), Batch(side, side, torch.arange(2))
    )["cross_entropy"]
    logits = head(hidden).double()
    trained = [(0, 2), (0, 3), (0, 4), (1, 1), (1, 2)]
    expected = -sum(math.log(softmax(logits[row, at - 1].tolist())[ids[row, at]]) for row, at in trained)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert int(loss.count) == len(trained)


def test_teacher_is_not_read_and_may_have_another_vocabulary():
    reads = objectives.find("hard.cross_entropy")().setup(STUDENT, TEACHER)
    assert reads.teacher == ()
