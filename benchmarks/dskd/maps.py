"""Maps between the spaces of two models, and how much of what one model says is left behind them."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stillroom.core.signals import HeadWeights
from stillroom.objectives.dual_space._projectors import HeadInverse, logit_map

ROWS = 512
"""Positions that a map is measured on."""


@dataclass(frozen=True)
class Fidelity:
    """What is left of a model's next-token distributions after a map into the space of another."""

    logit_error: float
    """|z - z'| / |z| of all logits."""
    centered_error: float
    """The same without the mean of every position's logits, which no softmax sees."""
    agreement: float
    """Share of positions whose likeliest token is the same."""
    kl: float
    """Mean KL(p || p') in nats."""

    def row(self, name: str) -> dict[str, float | str]:
        return {"": name} | asdict(self)


@torch.no_grad()
def fidelity(states: Tensor, source: Tensor, matrix: Tensor, target: Tensor) -> Fidelity:
    """Of `matrix [D,d]` between heads `source [V,D]` and `target [V,d]`, over hidden states `[N,D]`."""
    rows = states[:: max(1, len(states) // ROWS)][:ROWS].float()
    wanted = rows @ source.T
    got = rows @ matrix.to(rows) @ target.T
    apart, centered = got - wanted, wanted - wanted.mean(1, keepdim=True)
    log_p, log_q = wanted.log_softmax(1), got.log_softmax(1)
    return Fidelity(
        float(apart.norm() / wanted.norm()),
        float((apart - apart.mean(1, keepdim=True)).norm() / centered.norm()),
        float((wanted.argmax(1) == got.argmax(1)).float().mean()),
        float((log_p.exp() * (log_p - log_q)).sum(1).mean()),
    )


def kept_map(source: Tensor, target: Tensor, tokens: Tensor | None = None) -> Tensor:
    """The map that keeps the logits of `tokens` (all, where None), `[D,d]` float64: what the objective starts from."""
    ids = torch.arange(len(source)) if tokens is None else tokens
    heads = HeadWeights(source), HeadWeights(target)
    return logit_map(heads[0], ids, heads[1], ids, HeadInverse.of(heads[1], ids))


def centered_map(source: Tensor, target: Tensor) -> Tensor:
    """The map that keeps the logits but for the mean of every position, `[D,d]` float64."""
    return kept_map(*(each.double() - each.double().mean(0) for each in (source, target)))


def random_map(source: Tensor, target: Tensor) -> Tensor:
    """As `nn.Linear` starts, `[D,d]`."""
    generator = torch.Generator().manual_seed(0)
    bound = source.shape[1] ** -0.5
    return (torch.rand(source.shape[1], target.shape[1], generator=generator) * 2 - 1) * bound


def trained(
    matrix: Tensor, states: Tensor, labels: Tensor, target: Tensor, steps: int, rate: float = 1e-3
) -> Tensor:
    """`matrix [D,d]` after `steps` of Adam on the cross-entropy of `labels [N]`, 128 positions each."""
    matrix = matrix.float().clone().requires_grad_()
    optimizer = torch.optim.Adam([matrix], lr=rate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        some = torch.randint(len(states), (128,), generator=generator)
        loss = functional.cross_entropy(states[some] @ matrix @ target.T, labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return matrix.detach()
