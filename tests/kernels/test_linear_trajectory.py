"""The way through the layers against plain loops, and in chunks against the definition."""

import pytest
import torch
from largest_tensor import LargestTensor
from reference.feature_dynamics import changes, lens, trajectory

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadTransform
from stillroom.kernels.linear_trajectory import linear_trajectory

LAYERS, ROWS, WIDTH, TEACHER_WIDTH, VOCAB = 3, 5, 4, 6, 11
TRANSFORMS = {
    "identity": {},
    "scale": {"scale": 0.5},
    "bias and cap": {"bias": torch.linspace(-1, 1, VOCAB, dtype=torch.float64), "softcap": 2.0},
}


def inputs(rows=ROWS, dtype=torch.float64):
    sizes = (LAYERS, rows, WIDTH), (VOCAB, WIDTH), (LAYERS, rows, TEACHER_WIDTH), (VOCAB, TEACHER_WIDTH)
    return [torch.randn(each, dtype=dtype) for each in sizes]


@pytest.mark.parametrize("impl", ["plain", "streaming"])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_equals_the_loops(impl, temperature, transform):
    tensors, settings = inputs(), TRANSFORMS[transform]
    ours, head, theirs, teacher_head = (each.tolist() for each in tensors)
    floats = {key: each.tolist() if key == "bias" else each for key, each in settings.items()}
    student, teacher = lens(ours, head, **floats), lens(theirs, teacher_head, **floats)
    own = HeadTransform(**settings)
    divergence, change = linear_trajectory(
        *tensors, temperature=temperature, student_transform=own, teacher_transform=own, impl=impl
    )
    assert divergence.item() == pytest.approx(trajectory(student, teacher, temperature), rel=1e-10)
    assert change.item() == pytest.approx(changes(student, teacher), rel=1e-10)


def gradients(tensors, bias, weights, **settings):
    leaves = [each.clone().requires_grad_() for each in (*tensors, bias)]
    own = HeadTransform(bias=leaves[4], softcap=3.0)
    sums = linear_trajectory(
        *leaves[:4], temperature=2.0, student_transform=own, teacher_transform=HeadTransform(bias), **settings
    )
    (weights[0] * sums[0] + weights[1] * sums[1]).backward()
    return torch.stack(sums).detach(), [each.grad for each in leaves]


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.7, 3.0)])
def test_chunks_give_the_sums_and_gradients_of_the_definition(weights):
    tensors, bias = inputs(rows=7), torch.randn(VOCAB, dtype=torch.float64)
    expected, wanted = gradients(tensors, bias, weights, impl="plain")
    got, found = gradients(tensors, bias, weights, memory_budget=1)  # a row at a time
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for number in (0, 1, 4):
        torch.testing.assert_close(found[number], wanted[number], rtol=1e-10, atol=1e-12)
    assert all(each[2] is None and each[3] is None for each in (wanted, found)), "the teacher learns nothing"


def test_the_gradient_is_that_of_small_steps():
    states, head, theirs, teacher_head = inputs(rows=2)

    def both(states, head):
        return sum(linear_trajectory(states, head, theirs, teacher_head, temperature=1.5, memory_budget=1))

    assert torch.autograd.gradcheck(both, (states.requires_grad_(), head.requires_grad_()))


def test_no_tensor_grows_with_all_rows_and_the_vocabulary():
    found = {}
    vocab, rows = 1000, 40
    tensors = [
        torch.randn(LAYERS, rows, 4),
        torch.randn(vocab, 4),
        torch.randn(LAYERS, rows, 4),
        torch.randn(vocab, 4),
    ]
    for impl in ("plain", "streaming"):
        ours = [each.clone().requires_grad_() for each in tensors[:2]]
        with LargestTensor() as largest:
            sum(linear_trajectory(*ours, *tensors[2:], impl=impl, memory_budget=2**20)).backward()
        found[impl] = largest.elements
    assert found["plain"] == LAYERS * rows * vocab
    assert found["streaming"] <= LAYERS * 10 * vocab


def test_equal_models_have_nothing_to_learn_and_opposite_ways_are_two_apart():
    states, head, *_ = inputs()
    assert linear_trajectory(states, head, states, head)[0].item() == pytest.approx(0, abs=1e-12)
    assert linear_trajectory(states, head, states, head)[1].item() == pytest.approx(0, abs=1e-12)
    there = torch.randn(1, ROWS, WIDTH, dtype=torch.float64)
    way, back = torch.cat([there, there + 1]), torch.cat([there + 1, there])
    assert linear_trajectory(way, head, back, head)[1].item() == pytest.approx(2 * ROWS)


def test_a_layer_that_changes_nothing_is_one_away_and_its_gradient_is_finite():
    states, head, theirs, teacher_head = inputs()
    still = states[:1].expand(LAYERS, -1, -1).clone().requires_grad_()
    _, change = linear_trajectory(still, head, theirs, teacher_head)
    change.backward()
    assert change.item() == pytest.approx((LAYERS - 1) * ROWS)
    assert still.grad is not None
    assert 0 < still.grad.abs().max() < 100


def test_half_precision_is_summed_in_float32():
    tensors = inputs()
    exact = linear_trajectory(*tensors)
    rounded = linear_trajectory(*(each.bfloat16() for each in tensors))
    for got, expected in zip(rounded, exact, strict=True):
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(expected.item(), rel=0.05)


def test_autocast_is_the_same_when_a_chunk_is_computed_again():
    tensors = inputs(rows=7, dtype=torch.float32)
    slopes = {}
    for impl in ("plain", "streaming"):
        states = tensors[0].clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            sums = linear_trajectory(states, *tensors[1:], impl=impl, memory_budget=1)
        assert all(each.dtype == torch.float32 for each in sums)
        sum(sums).backward()
        slopes[impl] = states.grad
    torch.testing.assert_close(slopes["streaming"], slopes["plain"], rtol=0.02, atol=0.02)


def test_no_row_is_zero_and_keeps_the_graph():
    tensors = inputs(rows=0)
    tensors[0].requires_grad_()
    divergence, change = linear_trajectory(*tensors)
    assert (divergence.item(), change.item()) == (0, 0)
    (divergence + change).backward()
    assert tensors[0].grad is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({0: torch.zeros(3, 4, 4)}, "the same K layers and N rows"),
        ({0: torch.zeros(15, 4)}, "the same K layers and N rows"),
        ({1: torch.zeros(12, 4)}, "with the same vocabulary V"),
        ({3: torch.zeros(11, 5)}, "expected teacher hidden states"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, says):
    tensors = inputs(dtype=torch.float32)
    for number, other in change.items():
        tensors[number] = other
    with pytest.raises(BadInput, match=says):
        linear_trajectory(*tensors)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(BadInput, match="positive temperature, got 0"):
        linear_trajectory(*inputs(), temperature=0)
    with pytest.raises(BadInput, match='"plain" or "streaming", got \'dense\''):
        linear_trajectory(*inputs(), impl="dense")
