"""Ranks of attention maps: of scores, of maps after the softmax, and how many directions hold most of one."""

from typing import Any

import torch
from findings import Finding
from torch import Tensor

from shd import teachers
from shd.heads import Heads, random_heads

LENGTH, TEXTS = 128, 4


def directions(maps: Tensor, share: float = 0.99) -> Tensor:
    """How many singular values of `[...,S,S]` hold this share of the sum of squares, `[...]`."""
    squares = torch.linalg.svdvals(maps).square()
    held = squares.cumsum(dim=-1) / squares.sum(dim=-1, keepdim=True)
    return (held < share).sum(dim=-1) + 1


def ranks(name: str, heads: list[Heads]) -> dict[str, Any]:
    maps = torch.cat([each.maps for each in heads])
    scores = torch.cat(
        [each.query @ each.key.repeat_interleave(len(each.query) // len(each.key), 0).mT for each in heads]
    )
    found = torch.linalg.matrix_rank(maps).double()
    return {
        "maps": name,
        "N": maps.shape[-1],
        "d": heads[0].query.shape[-1],
        "rank of scores, most": int(torch.linalg.matrix_rank(scores).max()),
        "rank of maps, least": int(found.min()),
        "rank of maps, mean": float(found.mean()),
        "for 99 %, mean": float(directions(maps).double().mean()),
        "least on the diagonal": float(maps.diagonal(dim1=-2, dim2=-1).min()),
    }


def findings() -> list[Finding]:
    return [rank(), theoretical()]


def rank() -> Finding:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for causal, sharpness in ((False, 1.0), (False, 3.0), (True, 1.0), (True, 3.0)):
        name = f"random, {'causal' if causal else 'full'}, scores ± {sharpness:g}"
        made = random_heads(8, LENGTH, 8, generator, sharpness=sharpness, is_causal=causal)
        rows.append(ranks(name, [made]))
    for teacher in (teachers.bench(TEXTS, LENGTH, LENGTH), teachers.dreams(TEXTS, LENGTH)):
        seen = [heads for text in teacher.texts for heads in teacher.read(text).values()]
        rows.append(ranks(teacher.name, seen))
    random, real = rows[1], rows[4]
    return Finding(
        "rank",
        "As N > d, the rank of an attention map is at most d (Observation 3)",
        "false",
        f"Only Q K^T has rank d; the softmax is not linear. Full random maps with d = 8 and N = {LENGTH} "
        "have rank "
        f"{random['rank of maps, least']} at least (scores ± 3), and causal maps are triangular with a "
        "positive "
        "diagonal: rank N always, in exact arithmetic. Of trained models, float64 sees "
        f"{real['rank of maps, least']} of {LENGTH} at least; 99 % of the sum of squares lie in "
        f"{real['for 99 %, mean']:.0f} (d = 64) and {rows[5]['for 99 %, mean']:.0f} (d = 16) directions.",
        {"table": rows},
    )


def theoretical() -> Finding:
    """Redundancy 'from a linear algebra perspective' is argued from the rank alone."""
    return Finding(
        "redundancy from rank",
        "Because of its rank a single map 'cannot fully utilize its theoretical capacity, leading to "
        "redundancy' "
        "(Observation 3)",
        "false",
        "The premise is false, and it would not follow: one matrix of low rank is not redundant with "
        "another one. "
        "What heads share is measured by `alike` and `merging`.",
        {},
    )
