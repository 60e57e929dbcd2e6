"""Each objective on whole signals: selection of rows, temperature, settings, vocabularies."""

import pytest
import torch
from reference import divergences as twins

from stillroom import objectives
from stillroom.core.batch import Batch, Side
from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape
from stillroom.core.signals import FinalHidden, Head, HeadTransform, HeadWeights, Signals

STUDENT = ModelShape(11, 4, 2, 2, 1, 2, "llama", "letters")
TEACHER = ModelShape(11, 6, 3, 2, 1, 3, "llama", "letters")
CASES = [
    ("forward_kl", {}),
    ("forward_kl", {"temperature": 2.0}),
    ("forward_kl", {"temperature": 2.0, "scale_by_temperature_squared": False}),
    ("reverse_kl", {"temperature": 2.0, "scale_by_temperature_squared": True}),
    ("jensen_shannon", {"beta": 0.3}),
    ("jensen_shannon", {"beta": 0.1, "normalize": True, "temperature": 0.5}),
    ("skew_kl", {"alpha": 0.2}),
    ("skew_reverse_kl", {"detach_mixture": True}),
    ("adaptive_kl", {"mu": 0.7, "head": "code"}),
    ("total_variation", {}),
    ("focal", {"gamma": 1.0, "temperature": 2.0}),
    ("focal", {"weighting": "per_class"}),
    ("renyi", {"alpha": 0.3}),
]
OWN = {"temperature", "scale_by_temperature_squared"}


def signals(shape: ModelShape, seed: int, transform: HeadTransform = HeadTransform()) -> Signals:  # noqa: B008
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(2, 5, shape.width, generator=generator).requires_grad_()
    head = torch.randn(shape.vocab_size, shape.width, generator=generator)
    return Signals({FinalHidden(): hidden, Head(): HeadWeights(head, transform)})


def batch() -> Batch:
    mask = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]).bool()
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    side = Side(torch.arange(10).reshape(2, 5), real, mask)
    return Batch(side, side, torch.arange(2))


SCORED = [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
"""The positions before the trained tokens of `batch()`."""


@pytest.mark.parametrize(("method", "settings"), CASES)
def test_value_and_gradient_equal_the_twin_over_scored_positions(method, settings):
    objective = objectives.find(f"logits.{method}")(**settings)
    objective.setup(STUDENT, TEACHER)
    bias = torch.linspace(-1, 1, 11)
    student, teacher = signals(STUDENT, 0), signals(TEACHER, 1, HeadTransform(bias=bias, softcap=3.0))
    logits = student[Head()](student[FinalHidden()]).detach().requires_grad_()
    loss = objective(student, teacher, batch())["divergence"]
    assert (int(loss.count), loss.unit) == (5, "tokens")

    factor = objective.temperature**2 if objective.scale_by_temperature_squared else 1.0
    twin = getattr(twins, method)
    own = {key: value for key, value in settings.items() if key not in OWN}
    theirs = teacher[Head()](teacher[FinalHidden()]).double()
    expected, expected_gradient = 0.0, torch.zeros_like(logits)
    for place in SCORED:
        p, q = (
            twins.softmax((each[place] / objective.temperature).tolist())
            for each in (theirs, logits.double())
        )
        expected += factor * twin(p, q, q, **own)
        slope = twins.gradient(
            twin, theirs[place].tolist(), logits[place].tolist(), objective.temperature, **own
        )
        expected_gradient[place] = factor * torch.tensor(slope)
    assert loss.total.item() == pytest.approx(expected, rel=1e-4)
    loss.total.backward()
    through_head = expected_gradient @ student[Head()].weight
    torch.testing.assert_close(student[FinalHidden()].grad, through_head, rtol=1e-3, atol=1e-4)
    assert teacher[FinalHidden()].grad is None


def test_temperature_squared_is_the_default_where_the_source_has_it():
    scaled = {
        name
        for name in objectives.names()
        for setting in objectives.settings(name)
        if setting.name == "scale_by_temperature_squared" and setting.default
    }
    assert scaled == {"logits.forward_kl", "logits.focal"}


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("forward_kl", {"temperature": 0}, r"temperature must lie in \(0, inf\), got 0"),
        ("forward_kl", {"temperature": float("inf")}, "temperature must lie in"),
        ("forward_kl", {"temperature": float("nan")}, "temperature must lie in"),
        ("forward_kl", {"temperature": "2"}, "temperature must be a number"),
        ("forward_kl", {"temperature": True}, "temperature must be a number"),
        ("forward_kl", {"scale_by_temperature_squared": 1}, "must be true or false"),
        ("jensen_shannon", {"beta": 1.01}, r"beta must lie in \[0, 1\], got 1.01"),
        ("skew_kl", {"alpha": 1}, r"alpha must lie in \[0, 1\)"),
        ("skew_reverse_kl", {"alpha": -0.1}, r"alpha must lie in \[0, 1\)"),
        ("adaptive_kl", {"mu": 1.0}, r"mu must lie in \(0, 1\)"),
        ("adaptive_kl", {"head": "both"}, "head must be one of paper, code, got 'both'"),
        ("focal", {"gamma": -1}, "gamma must lie in"),
        ("focal", {"weighting": "label"}, "weighting must be one of tvd, per_class"),
        ("renyi", {"alpha": 1.0}, r"alpha must lie in \(0, 1\)"),
    ],
)
def test_settings_out_of_range(name, settings, says):
    with pytest.raises(BadInput, match=says):
        objectives.find(f"logits.{name}")(**settings)


def test_two_vocabularies_are_refused_with_a_way_out():
    other = ModelShape(12, 6, 3, 2, 1, 3, "gpt2", "syllables")
    with pytest.raises(BadInput, match=r"ForwardKL .* letters .* syllables: choose a cross-tokenizer"):
        objectives.find("logits.forward_kl")().setup(STUDENT, other)


def test_two_sides_may_differ_in_the_prompt_but_not_in_the_response():
    objective = objectives.find("logits.forward_kl")()
    ours = batch().student
    pad = torch.zeros(2, 1, dtype=torch.long)
    theirs = Side(*(torch.cat([pad.to(each.dtype), each], 1) for each in _tensors(ours)))
    student, teacher = signals(STUDENT, 0), signals(TEACHER, 1)
    longer = torch.cat([torch.zeros(2, 1, 6), teacher[FinalHidden()]], 1)
    moved = Signals({FinalHidden(): longer, Head(): teacher[Head()]})
    same = objective(student, teacher, batch())["divergence"]
    shifted = objective(student, moved, Batch(ours, theirs, torch.tensor([40, 41])))["divergence"]
    assert torch.equal(same.total, shifted.total)

    theirs.response_mask[1, 2] = False
    with pytest.raises(BadInput, match="sample 41 has 2 scored tokens for the student and 1 for the teacher"):
        objective(student, moved, Batch(ours, theirs, torch.tensor([40, 41])))


def _tensors(side: Side) -> tuple[torch.Tensor, ...]:
    return side.input_ids, side.attention_mask, side.response_mask
