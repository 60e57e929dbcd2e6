"""Universal logit distillation against plain loops, at positions of equal context and as published."""

from dataclasses import replace

import pytest
import torch
from objectives.vocabulary.two_sides import (
    CONTEXT_PAIRS,
    OURS,
    THEIRS,
    both,
    probabilities,
    slopes_are_right,
    texts,
)
from reference import vocabulary as reference
from reference.optimal_transport import sorted_distance

from stillroom import objectives
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, HeadTransform, HeadWeights, Signals
from stillroom.testing import OTHER_TEACHER, STUDENT, TEACHER, check_objective

ULD = objectives.find("vocabulary.uld")


def places(positions, text):
    if positions == "index":
        return reference.by_index(text[1], text[3])
    return reference.context(*text)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize(("positions", "pairs"), [("context", CONTEXT_PAIRS), ("index", 6 + 4 + 2)])
def test_value_is_that_of_the_loops(positions, pairs, temperature):
    objective = ULD(positions=positions, temperature=temperature)
    objective.setup(OURS, THEIRS)
    asked, ours, theirs = both()
    loss = objective(ours, theirs, asked)["distance"]
    q, p = probabilities(ours, temperature), probabilities(theirs, temperature)
    expected = sum(
        sorted_distance(p[row][j], q[row][i])
        for row, text in enumerate(texts(asked))
        for i, j in places(positions, text)
    )
    assert loss.total.item() == pytest.approx(expected, rel=1e-9)
    assert (int(loss.count), loss.unit) == (pairs, "pairs")
    assert int(objective.counts(asked)["distance"]) == pairs


@pytest.mark.parametrize("positions", ["context", "index"])
def test_slopes(positions):
    objective = ULD(positions=positions)
    objective.setup(OURS, THEIRS)
    assert slopes_are_right(objective, *both())


def test_names_of_tokens_do_not_matter():
    """A teacher that is the student with its tokens in another order, which is why the loss alone teaches little."""
    asked, ours, _ = both(dtype=torch.float32)
    asked = Batch(asked.student, asked.student, asked.sample_ids)
    head, order = ours[Head()], torch.randperm(11, generator=torch.Generator().manual_seed(0))
    other = HeadWeights(head.weight[order], HeadTransform(bias=head.transform.bias[order]))
    objective = ULD()
    objective.setup(OURS, OURS)
    theirs = Signals({FinalHidden(): ours[FinalHidden()], Head(): other})
    assert objective(ours, theirs, asked)["distance"].total.item() == pytest.approx(0, abs=1e-5)


def test_as_published_needs_no_bytes():
    objective = ULD(positions="index")
    objective.setup(OURS, THEIRS)
    asked, ours, theirs = both()
    blind = Batch(
        *(replace(side, byte_ends=None) for side in (asked.student, asked.teacher)), asked.sample_ids
    )
    total = objective(ours, theirs, asked)["distance"].total
    assert objective(ours, theirs, blind)["distance"].total == total


@pytest.mark.parametrize("positions", ["context", "index"])
@pytest.mark.parametrize("teacher", [TEACHER, OTHER_TEACHER], ids=lambda shape: shape.vocabulary)
def test_contract(positions, teacher):
    check_objective(ULD(positions=positions), student=STUDENT, teacher=teacher)


def test_bad_settings():
    with pytest.raises(BadInput, match="positions must be one of context, index"):
        ULD(positions="start")
    with pytest.raises(BadInput, match="temperature must lie in"):
        ULD(temperature=-1.0)
