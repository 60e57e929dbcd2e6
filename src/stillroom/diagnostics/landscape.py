"""The loss along straight lines through the student's parameters.

    theta(alpha) = theta* + alpha * delta              delta Gaussian, each row as long as the row of theta*
    theta(alpha) = (1 - alpha) theta_0 + alpha theta*  from the student before training to the one after it

Rows are filters (output units; tokens of an embedding). Norms and biases stay where they are. A direction is a function
of its seed and of the model's shapes, so all runs of one student are cut along the same lines.
curvature = (L(h) - 2 L(0) + L(-h)) / h^2, with h the distance of neighboring points.

Paper:    Li et al. (2018), Visualizing the Loss Landscape of Neural Nets; SHARP, Figure 3
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

Weights = dict[str, Tensor]


def copied(parameters: Mapping[str, nn.Parameter]) -> Weights:
    return {name: each.detach().clone() for name, each in parameters.items()}


def random_direction(model: nn.Module, parameters: Mapping[str, nn.Parameter], seed: int) -> Weights:
    """A filter-normalized direction: zero for what has fewer than two dimensions."""
    # GPT-2 keeps its matrices transposed: an output unit is a column there
    transposed = {id(each.weight) for each in model.modules() if isinstance(each, Conv1D)}
    generator = torch.Generator().manual_seed(seed)
    direction = {}
    for name, each in parameters.items():
        if each.ndim < 2:
            direction[name] = torch.zeros_like(each)
            continue
        noise = torch.randn(each.shape, generator=generator).to(each.device)
        weight = each.detach().float()
        if id(each) in transposed:
            direction[name] = _scaled_rows(noise.T, weight.T).T.to(each.dtype)
        else:
            direction[name] = _scaled_rows(noise, weight).to(each.dtype)
    return direction


def _scaled_rows(noise: Tensor, weight: Tensor) -> Tensor:
    """Rows of `noise` as long as those of `weight`."""
    dims = tuple(range(1, noise.ndim))
    lengths = weight.pow(2).sum(dim=dims, keepdim=True).sqrt()
    return noise * lengths / noise.pow(2).sum(dim=dims, keepdim=True).sqrt().clamp(min=1e-30)


def grid(points: int) -> list[float]:
    """`points` (odd) places from -1 to 1 with zero in the middle."""
    half = points // 2
    return [index / half for index in range(-half, half + 1)]


def along(
    parameters: Mapping[str, nn.Parameter],
    origin: Weights,
    direction: Weights,
    alphas: Sequence[float],
    loss: Callable[[], float],
) -> list[float]:
    """`loss()` with the parameters at origin + alpha * direction; afterwards they are what they were, to the bit."""
    losses = []
    with _restored(parameters):
        for alpha in alphas:
            with torch.no_grad():
                for name, each in parameters.items():
                    each.copy_(origin[name] + alpha * direction[name] if alpha else origin[name])
            losses.append(loss())
    return losses


def curvature(alphas: Sequence[float], losses: Sequence[float]) -> float:
    """Second difference at alpha = 0 of an even grid around it."""
    middle = list(alphas).index(0.0)
    step = alphas[middle + 1]
    return (losses[middle + 1] - 2 * losses[middle] + losses[middle - 1]) / step**2


@contextmanager
def _restored(parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    before = copied(parameters)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, each in parameters.items():
                each.copy_(before[name])
