"""The engine for GPUs against the plain one: on a GPU, or on Triton's interpreter in a process of its own."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from stillroom.core.errors import BadInput
from stillroom.kernels.squeezed_kl import squeezed_kl

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GROUPS = [[0, 1], [3]]
SETTINGS = {"groups": GROUPS, "student_scaling": 0.7, "teacher_scaling": 0.9, "temperature": 1.3}
RULES = {
    "causal": {},
    "window": {"window": 4},
    "softcaps": {"student_softcap": 1.5, "teacher_softcap": 0.8, "is_causal": False},
}


def problem(length=21):
    """Queries and keys of both models (grouped on both sides, of different widths), mix, row weights, slopes."""
    sizes = [(2, 5), (1, 5), (4, 3), (2, 3)]
    tensors = [torch.randn(2, length, n, d, device=DEVICE).transpose(1, 2) for n, d in sizes]
    mix = torch.tensor([[0.3, 0.7], [1.0, 0.0]], device=DEVICE).expand(2, 2, 2)
    return [*tensors, mix], torch.rand(2, length, device=DEVICE), torch.randn(2, 2, device=DEVICE)


def results(tensors, weights, slope, **settings):
    """The divergences, and the gradients of the student's query and key."""
    student = [tensor.detach().requires_grad_() for tensor in tensors[:2]]
    value = squeezed_kl(*student, *tensors[2:], weights=weights, **SETTINGS | settings)
    return value.detach(), *torch.autograd.grad(value, student, slope)


@pytest.fixture
def small_tiles(monkeypatch):
    pytest.importorskip("triton")
    if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU, and TRITON_INTERPRET is not 1; test_triton_on_its_interpreter runs this")
    from stillroom.kernels import _triton_attention as tiles

    monkeypatch.setattr(tiles, "ROWS", 16)
    monkeypatch.setattr(tiles, "KEYS", 16)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="this is the process that it starts")
def test_triton_on_its_interpreter():
    command = [sys.executable, "-m", "pytest", __file__, "-q", "-k", "triton", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("divergence", ["kl", "mse"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("padded", [False, True])
def test_triton_equals_plain(divergence, rule, padded):
    (*tensors, mix), weights, slope = problem()
    mask = None
    if padded:
        mask = torch.ones(weights.shape, dtype=torch.bool, device=DEVICE)
        mask[0, 1::3] = False
        weights = weights * mask
        tensors = [torch.where(mask[:, None, :, None], tensor, torch.nan) for tensor in tensors]
    settings = {"key_mask": mask, "divergence": divergence, **RULES[rule]}
    found, expected = (
        results([*tensors, mix], weights, slope, impl=impl, **settings) for impl in ("triton", "plain")
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("small_tiles")
def test_triton_with_nothing_to_do_and_one_gradient_wanted():
    tensors, weights, slope = problem()
    assert all(
        torch.all(tensor == 0) for tensor in results(tensors, torch.zeros_like(weights), slope, impl="triton")
    )
    expected = results(tensors, weights, slope, impl="plain")[2]
    tensors[1] = tensors[1].detach().requires_grad_()
    value = squeezed_kl(*tensors, weights=weights, **SETTINGS, impl="triton")
    torch.testing.assert_close(
        torch.autograd.grad(value, tensors[1], slope)[0], expected, rtol=1e-4, atol=1e-5
    )


def test_triton_that_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tensors, weights, _ = problem()
    with pytest.raises(BadInput, match="not installed"):
        squeezed_kl(*tensors, weights=weights, **SETTINGS, impl="triton")


@pytest.mark.usefixtures("small_tiles")
def test_triton_refuses_float64():
    tensors, weights, _ = problem()
    with pytest.raises(BadInput, match="float32"):
        squeezed_kl(
            *tensors[:2],
            *(t.double() for t in tensors[2:4]),
            tensors[4],
            weights=weights,
            **SETTINGS,
            impl="triton",
        )
