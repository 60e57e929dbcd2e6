"""Pooled attention maps: what they hold, how alike unrelated ones are, and what trainable projections make of them."""

from typing import Literal

import torch
from findings import Finding
from torch import Tensor

Inputs = Literal["with bias", "without bias", "centered"]


def causal_maps(count: int, length: int, generator: torch.Generator, sharpness: float = 1.0) -> Tensor:
    """Attention of unrelated random queries and keys, `[count,S,S]`; `sharpness` is the deviation of
    its scores."""
    query, key = (torch.randn(count, length, 16, dtype=torch.float64, generator=generator) for _ in range(2))
    scores = sharpness * query @ key.transpose(1, 2) / 4
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1)


def received(maps: Tensor) -> Tensor:
    """Mean over queries: maps `[...,S,S]` to how much each key receives, `[...,S]`."""
    return maps.mean(dim=-2)


def uniform_profile(length: int) -> Tensor:
    """What key k receives when every query attends evenly to its past: (1/S) sum_{q >= k} 1 / (q + 1)."""
    share = 1 / torch.arange(1, length + 1, dtype=torch.float64)
    return share.flip(0).cumsum(0).flip(0) / length


def alike(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Mean and deviation of the cosine of rows that have nothing to do with each other."""
    cosine = torch.cosine_similarity(first, second, dim=-1)
    return float(cosine.mean()), float(cosine.std())


def train_projections(inputs: Inputs, steps: int, pairs: int = 128, length: int = 64) -> dict[str, float]:
    """Train phi [S,96] and W [96,32] (Adam 1e-3) on 1 - cos between *frozen, unrelated* pooled maps.

    Nothing can be learned from the pairs; `fresh` are pairs that were not trained on.
    """
    generator = torch.Generator().manual_seed(0)
    seen, fresh = ([received(causal_maps(pairs, length, generator)) for _ in range(2)] for _ in range(2))
    if inputs == "centered":
        means = [side.mean(dim=0) for side in seen]
        seen, fresh = (
            [side - mean for side, mean in zip(each, means, strict=True)] for each in (seen, fresh)
        )
    phi = (torch.randn(length, 96, dtype=torch.float64, generator=generator) / 8).requires_grad_()
    frame = torch.linalg.qr(torch.randn(96, 32, dtype=torch.float64, generator=generator))[0].requires_grad_()
    bias = (torch.rand(96, dtype=torch.float64, generator=generator) / 4 - 1 / 8).requires_grad_()
    trained = [phi, frame, bias] if inputs == "with bias" else [phi, frame]
    offset = bias if inputs == "with bias" else torch.zeros_like(bias)
    optimizer = torch.optim.Adam(trained, lr=1e-3)

    def loss(sides: list[Tensor]) -> Tensor:
        student, teacher = ((side @ phi + offset) @ frame for side in sides)
        return (1 - torch.cosine_similarity(student, teacher)).mean()

    before = loss(seen).item()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(seen).backward()
        optimizer.step()
    return {"before": before, "after": loss(seen).item(), "fresh, after": loss(fresh).item()}


def integrated(steps: int, detach_teacher: bool) -> tuple[float, float]:
    """L_int before and after training the integration module alone on frozen, unrelated projections.

    `detach_teacher` takes no gradient through the teacher's branch of the same module.
    """
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(32, 4, batch_first=True, dtype=torch.float64)
    output = torch.nn.Linear(32, 64, dtype=torch.float64)
    student, teacher = (torch.randn(128, 3, 32, dtype=torch.float64) for _ in range(2))
    optimizer = torch.optim.Adam([*module.parameters(), *output.parameters()], lr=1e-2)

    def side(tokens: Tensor) -> Tensor:
        return output(module(tokens, tokens, tokens, need_weights=False)[0]).mean(dim=1)

    values = []
    for _ in range(steps + 1):
        target = side(teacher).detach() if detach_teacher else side(teacher)
        loss = (side(student) - target).square().mean()
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return values[0], values[-1]


def findings() -> list[Finding]:
    return [pooling_axis(), profile(), raw_cosine(), granularities(), trainable(), integration()]


def pooling_axis() -> Finding:
    maps = causal_maps(64, 32, torch.Generator().manual_seed(0))
    error = float((maps.mean(dim=-1) - 1 / 32).abs().max())
    spread = float(received(maps).std(dim=0).mean() * 32)
    return Finding(
        "pooling axis",
        "MeanPool averages over 'the sequence dimension' (Eq 17-19)",
        "cannot be tested from the paper",
        f"Over keys the mean is 1/S whatever the model does (largest deviation {error:.0e}, S = 32). Only "
        "the mean over queries, the attention a key receives, carries anything (deviation between maps: "
        f"{spread:.2f} of 1/S).",
        {"deviation from 1/S over keys": error, "deviation between maps over queries, in 1/S": spread},
    )


def profile() -> Finding:
    eight = [round(value, 4) for value in uniform_profile(8).tolist()]
    shares = {}
    for length in (64, 512):
        pooled = received(causal_maps(64, length, torch.Generator().manual_seed(1)))
        residue = pooled - uniform_profile(length)
        shares[length] = float(1 - residue.square().sum() / (pooled - 1 / length).square().sum())
    return Finding(
        "profile",
        "Pooled token attention encodes 'persistent lexical relationships' (4.2)",
        "cannot be tested from the paper",
        f"In a causal map it is mostly position. Even attention gives {eight} at S = 8; that profile "
        f"explains {shares[64]:.1%} of the variance over keys in unrelated random maps at S = 64, "
        f"{shares[512]:.1%} at 512.",
        {"uniform profile, S=8": eight, "explained": shares},
    )


def raw_cosine() -> Finding:
    rows = []
    for length, sharpness, merged in (
        (64, 1.0, 1),
        (64, 2.0, 1),
        (64, 4.0, 1),
        (512, 1.0, 1),
        (64, 2.0, 144),
    ):
        generator, pairs = torch.Generator().manual_seed(2), 20 if merged > 1 else 60
        sides = []
        for _ in range(2):
            pooled = received(causal_maps(pairs * merged, length, generator, sharpness))
            sides.append(pooled.view(pairs, merged, length).mean(dim=1))
        flat = uniform_profile(length)
        raw, relative = alike(*sides), alike(*[side / flat - 1 for side in sides])
        rows.append({
            "S": length, "deviation of scores": sharpness, "maps averaged": merged,
            "cos": raw[0], "deviation of cos": raw[1],
            "cos, relative to profile": relative[0], "its deviation": relative[1],
        })  # fmt: skip
    return Finding(
        "raw cosine",
        "1 - cos of pooled attention has the range [0, 2] (Eq 8, 17)",
        "holds in part",
        "Of non-negative vectors it has [0, 1], and most of that is not used: unrelated random maps "
        f"already have a cosine of {rows[2]['cos']:.3f} to {rows[3]['cos']:.3f}, and {rows[4]['cos']:.4f} "
        "after the mean over 12 layers x 12 heads of Eq 3. Divided by the profile of even attention, "
        f"less one, it is {rows[0]['cos, relative to profile']:.2f} ± {rows[0]['its deviation']:.2f}.",
        {"table": rows},
    )


def granularities(samples: int = 24, layers: int = 3, heads: int = 4, length: int = 16) -> Finding:
    """Maps of several layers and heads: with a linear phi the three granularities are one vector."""
    generator = torch.Generator().manual_seed(3)
    maps = causal_maps(samples * layers * heads, length, generator)
    maps = maps.view(samples, layers, heads, length, length)
    token = received(maps.mean(dim=(1, 2)))
    head, layer = received(maps.mean(dim=1)), received(maps.mean(dim=2))
    error = float(max((token - head.mean(dim=1)).abs().max(), (token - layer.mean(dim=1)).abs().max()))
    phi = torch.randn(length, 48, dtype=torch.float64, generator=generator)

    def gelu(pooled: Tensor) -> Tensor:
        return torch.nn.functional.gelu((pooled / uniform_profile(length) - 1) @ phi)

    curved = [gelu(token), gelu(head).mean(dim=1), gelu(layer).mean(dim=1)]
    apart = [float((curved[0] - each).norm() / curved[0].norm()) for each in curved[1:]]
    return Finding(
        "granularities",
        "Token, head and layer attention are complementary (Eq 3-5, 17-23)",
        "false",
        "Means commute with a linear phi: averaged to B x D as Eq 23 asks, the three pooled maps are one "
        f"vector (largest difference {error:.0e}). With GELU before the mean they differ by "
        f"{apart[0]:.0%} (head) and {apart[1]:.0%} (layer) of their norm.",
        {"linear": error, "GELU, head": apart[0], "GELU, layer": apart[1]},
    )


def trainable(steps: int = 1000) -> Finding:
    settings: tuple[Inputs, ...] = ("with bias", "without bias", "centered")
    rows = [{"phi": inputs} | train_projections(inputs, steps) for inputs in settings]
    return Finding(
        "trainable",
        "A falling L^g, with W^g and phi trained on it too, means that the student learns (Algorithm 1, "
        "line 11)",
        "false",
        "On frozen, unrelated maps, where a student learns nothing, the loss falls "
        f"{rows[0]['before']:.4f} -> {rows[0]['after']:.0e} with the bias of Eq 17, "
        f"{rows[1]['before']:.3f} -> {rows[1]['after']:.0e} without, and on fresh pairs too. Centered "
        f"inputs can only be learned by heart: {rows[2]['before']:.2f} -> {rows[2]['after']:.4f}, fresh "
        f"pairs {rows[2]['fresh, after']:.2f}.",
        {"table": rows},
    )


def integration(steps: int = 300) -> Finding:
    both, detached = integrated(steps, False), integrated(steps, True)
    return Finding(
        "integration",
        "L_int = ||H_int - H_int,T||^2, through one trained MHA, measures the discrepancy (B.3, Algorithm 2)",
        "false",
        f"Frozen, unrelated projections: {both[0]:.3f} -> {both[1]:.0e} in {steps} steps, a constant "
        f"output; with the teacher's branch detached {detached[0]:.3f} -> {detached[1]:.0e}, since the "
        "same weights make both sides.",
        {"both branches": both, "teacher detached": detached},
    )
