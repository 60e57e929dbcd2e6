"""The loss: attention temperature, its order with merging, and zeros in the student's maps."""

import statistics
from typing import Any

import torch
from findings import Finding
from torch import Tensor

from shd import teachers
from shd.heads import random_heads, softmax_maps

TEXTS, LENGTH = 8, 256


def findings() -> list[Finding]:
    return [temperature(), order(), zeros(), equation()]


def softened(maps: Tensor, temperature: float) -> Tensor:
    """p^(1/T), divided by its sum: the softmax of logits over T, from the map alone."""
    powers = maps ** (1 / temperature)
    return powers / powers.sum(dim=-1, keepdim=True)


def temperature() -> Finding:
    generator = torch.Generator().manual_seed(0)
    heads = random_heads(4, 64, 16, generator, sharpness=2.0)
    scores = heads.query @ heads.key.mT * heads.scaling
    found = {
        str(t): float((softened(heads.maps, t) - softmax_maps(scores / t)).abs().max())
        for t in (0.5, 2.0, 4.0)
    }
    half = float((softened(heads.maps.half(), 4.0).double() - softmax_maps(scores / 4)).abs().max())
    return Finding(
        "temperature",
        "Attention temperature divides the scores: softmax(Q K^T / (sqrt(d) T_a)) (Eq 10, which names "
        "itself as the "
        "equation that it modifies)",
        "holds",
        f"No scores are needed: p^(1/T) over its sum is the same to {max(found.values()):.0e}. From maps in "
        "float16 it is "
        f"off by {half:.0e} at T = 4. It does not say whether the student is softened too; here both are.",
        found | {"float16, T = 4": half},
    )


def order() -> Finding:
    """Eq. 10 softens every head; the maps could as well be merged first."""
    rows = []
    teacher = teachers.bench(TEXTS, LENGTH, LENGTH)
    maps = [
        heads.maps[pair]
        for text in teacher.texts
        for heads in teacher.read(text).values()
        for pair in teacher.neighbors()
    ]
    for t in (1.0, 2.0, 4.0, 8.0):
        apart = [between(each, t) for each in maps]
        rows.append(
            {
                "T": t,
                "total variation": statistics.mean(v for v, _ in apart),
                "KL, nats": statistics.mean(k for _, k in apart),
                "largest KL": max(k for _, k in apart),
            }
        )
    return Finding(
        "order",
        "Eq 10 modifies A_i, and the loss compares the merged map (Eq 10, 11)",
        "cannot be tested from the paper",
        "Softening the heads and then merging is not merging and then softening: at alpha = 1/2 the rows of "
        "a trained model "
        f"differ by {rows[1]['total variation']:.3f} in total variation at T = 2 and "
        f"{rows[2]['total variation']:.3f} at "
        f"T = 4 (KL of {rows[1]['KL, nats']:.3f} and {rows[2]['KL, nats']:.3f} nats). Whether alpha is that "
        "of softened maps "
        "is not said either. Here: alpha from maps as they are, which is what the heads write; then soften, "
        "then merge.",
        {"table": rows},
    )


def between(pair: Tensor, t: float) -> tuple[float, float]:
    """Mean over rows of total variation and KL between the two orders."""
    first, second = softened(pair, t).mean(dim=0), softened(pair.mean(dim=0), t)
    variation = (first - second).abs().sum(dim=-1) / 2
    divergence = (torch.xlogy(first, first) - torch.xlogy(first, second)).sum(dim=-1)
    return float(variation.mean()), float(divergence.mean())


def zeros() -> Finding:
    rows: list[dict[str, Any]] = []
    for teacher in (teachers.bench(TEXTS, LENGTH, LENGTH), teachers.bench(TEXTS, LENGTH, LENGTH, "student")):
        maps = torch.cat([heads.maps for text in teacher.texts for heads in teacher.read(text).values()])
        rows.append({"maps": teacher.name} | zero_share(maps))
    generator = torch.Generator().manual_seed(0)
    for sharpness in (3.0, 6.0):
        maps = random_heads(8, LENGTH, 16, generator, sharpness=sharpness).maps
        rows.append({"maps": f"random, scores ± {sharpness:g}"} | zero_share(maps))
    return Finding(
        "zeros",
        "L_KL between the merged map and the student's map (Eq 11)",
        "holds in part",
        "In float16 a map has entries that are exactly 0 where the query does see the key: "
        f"{rows[0]['rows with a zero']:.2%} of the rows of the model of 12.6 M have one, "
        f"{rows[1]['rows with a zero']:.2%} of "
        f"those of its student, {rows[2]['rows with a zero']:.0%} of random ones with scores of ± 3; each "
        "makes the KL "
        "infinite unless the teacher has a zero there too. Here log A comes from the scores, in float32.",
        {"table": rows},
    )


def zero_share(maps: Tensor) -> dict[str, float]:
    """Of the entries that a query sees, and of rows, after rounding to float16."""
    seen = torch.ones(maps.shape[-2:], dtype=torch.bool).tril()
    zero = (maps.half() == 0) & seen
    return {
        "entries": float(zero.sum() / (seen.sum() * len(maps))),
        "rows with a zero": float(zero.any(dim=-1).double().mean()),
        "least, log10": float(maps[:, seen].min().log10()),
    }


def equation() -> Finding:
    return Finding(
        "loss",
        "L_SHD = beta sum over layers and heads of L_KL (Eq 11), beta 2.0 and 1.0",
        "cannot be tested from the paper",
        "Not said: whether KL is a mean or a sum over queries, whether prompts and padding count, whether "
        "T_a^2 "
        "multiplies it, and beta and T_a for the instruction-tuning experiments (beta is given for images "
        "and BabyLM only). "
        "Here: a sum over queries with their number as count, the mean over layers and heads, no T_a^2.",
        {},
    )
