"""How alike the heads of a layer are, beside what any causal maps share, and what merging them costs."""

import statistics
from collections import defaultdict
from functools import cache
from itertools import combinations
from typing import Any

import torch
from findings import Finding
from torch import Tensor

from shd import teachers
from shd.claims.closed_form import alpha, true_offset
from shd.heads import Heads
from shd.teachers import Teacher
from stillroom.kernels.map_similarity import map_similarity
from stillroom.numerics.head_matching import match_heads

TEXTS, SHORTEST, LONGEST = 16, 64, 256


def findings() -> list[Finding]:
    return [alike(), merging(), matching(), first()]


def similarity(heads: Heads) -> Tensor:
    """`[H,H]`."""
    weights = torch.ones(1, heads.query.shape[1], dtype=torch.float64)
    return map_similarity(heads.query[None], heads.key[None], scaling=heads.scaling, weights=weights)[0]


def with_even(heads: Heads) -> float:
    """Mean cosine of the maps with even attention to the past: what is left to heads that have learned "
    "nothing."""
    length = heads.query.shape[1]
    even = torch.ones(length, length, dtype=torch.float64).tril()
    even /= even.sum(dim=1, keepdim=True)
    return float(torch.cosine_similarity(heads.maps.flatten(1), even.flatten()[None]).mean())


def off_diagonal(matrix: Tensor) -> Tensor:
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


def chosen() -> list[Teacher]:
    return [teachers.bench(TEXTS, SHORTEST, LONGEST), teachers.dreams(TEXTS, 128)]


def alike() -> Finding:
    rows = []
    for teacher in [*chosen(), teachers.untrained(TEXTS, SHORTEST, LONGEST)]:
        within: dict[int, list[Tensor]] = defaultdict(list)
        even: dict[int, list[float]] = defaultdict(list)
        across = []
        for text in teacher.texts:
            read = teacher.read(text)
            for layer, heads in read.items():
                within[layer].append(off_diagonal(similarity(heads)))
                even[layer].append(with_even(heads))
            across += [between_layers(read[a], read[b]) for a, b in combinations(teacher.layers, 2)]
        for layer, some in within.items():
            pooled = torch.stack(some)
            rows.append(
                {
                    "model": teacher.name,
                    "layer": layer,
                    "mean": float(pooled.mean()),
                    "least pair": float(pooled.mean(dim=0).min()),
                    "most alike pair": float(pooled.mean(dim=0).max()),
                    "with even attention": statistics.mean(even[layer]),
                    "heads of other layers": statistics.mean(across),
                }
            )
    means = {
        name: [statistics.mean(row[key] for row in rows if row["model"] == name) for key in KEYS]
        for name in {row["model"] for row in rows}
    }
    large, small, start = (
        means[name] for name in ("model of 12.6 M", "model of 0.2 M", "the same, untrained")
    )
    return Finding(
        "alike",
        "Heads of one layer have very similar maps, so heads are redundant (Observation 1, Fig 1)",
        "holds in part",
        f"Mean cosine of two maps of a layer: {large[0]:.2f} (12.6 M) and {small[0]:.2f} (0.2 M). Of two "
        "maps of *different* "
        f"layers: {large[1]:.2f} and {small[1]:.2f}: little less. And an untrained model has "
        f"{start[0]:.2f}, as all its maps are "
        "nearly even: similarity of maps alone does not say that a head can go.",
        {"table": rows},
    )


KEYS = ("mean", "heads of other layers")


def between_layers(one: Heads, other: Heads) -> float:
    return float(
        torch.nn.functional.normalize(one.maps.flatten(1))
        .matmul(torch.nn.functional.normalize(other.maps.flatten(1)).mT)
        .mean()
    )


@cache
def pair_errors(teacher: Teacher) -> dict[tuple[int, int, int], tuple[float, float]]:
    """By layer and pair of heads: similarity of their maps, and the relative error of their best mixture; both are
    means over texts."""
    found: dict[tuple[int, int, int], list[tuple[float, float]]] = defaultdict(list)
    for text in teacher.texts:
        for layer, heads in teacher.read(text[:128]).items():
            near = similarity(heads)
            for a, b in combinations(range(teacher.heads), 2):
                group = heads.group([a, b])
                share = min(max(alpha(group, true_offset(group)), 0.0), 1.0)
                error = group.error(share * group.maps[0] + (1 - share) * group.maps[1])
                found[layer, a, b].append((float(near[a, b]), error))
    return {
        key: (statistics.mean(s for s, _ in some), statistics.mean(e for _, e in some))
        for key, some in found.items()
    }


def merging() -> Finding:
    rows = []
    for teacher in chosen():
        found = pair_errors(teacher)
        for kind, keep in kinds(teacher).items():
            some = [each for key, each in found.items() if keep(key[1], key[2])]
            rows.append(
                {
                    "model": teacher.name,
                    "pairs": kind,
                    "number": len(some),
                    "similarity": statistics.mean(s for s, _ in some),
                    "error": statistics.mean(e for _, e in some),
                    "least error": min(e for _, e in some),
                    "correlation": statistics.correlation(*zip(*some, strict=True)),
                }
            )
    return Finding(
        "merging",
        "The number of heads is redundant to some degree (Observation 1)",
        "holds in part",
        "Measured by what is lost: the best mixture of two heads leaves a relative error of "
        f"{rows[0]['error']:.2f} in what they write, {rows[0]['least error']:.2f} for the best of "
        f"{rows[0]['number']} pairs "
        f"(12.6 M), {rows[-1]['error']:.2f} and {rows[-1]['least error']:.2f} (0.2 M). Similarity and error "
        "are correlated by "
        f"{rows[0]['correlation']:.2f} and {rows[-1]['correlation']:.2f}: alike maps merge better, and none "
        "of them freely.",
        {"table": rows},
    )


def kinds(teacher: Teacher) -> dict[str, Any]:
    share = teacher.model.config.num_attention_heads // teacher.model.config.num_key_value_heads
    if share == 1:
        return {"all": lambda a, b: True}
    return {
        "all": lambda a, b: True,
        "of one key head": lambda a, b: a // share == b // share,
        "of two key heads": lambda a, b: a // share != b // share,
    }


def matching() -> Finding:
    rows = []
    for teacher in chosen():
        found = pair_errors(teacher)
        for layer in teacher.layers:
            matrix = [
                [found.get((layer, min(a, b), max(a, b)), (1.0, 0.0))[0] for b in range(teacher.heads)]
                for a in range(teacher.heads)
            ]
            pairs = match_heads(matrix, teacher.heads // 2)
            every = [
                statistics.mean(found[layer, a, b][1] for a, b in each)
                for each in pairings(list(range(teacher.heads)))
            ]
            rows.append(
                {
                    "model": teacher.name,
                    "layer": layer,
                    "neighbors": statistics.mean(found[layer, a, b][1] for a, b in teacher.neighbors()),
                    "matched": statistics.mean(found[layer, a, b][1] for a, b in pairs),
                    "by chance": statistics.mean(every),
                    "best": min(every),
                    "worst": max(every),
                }
            )
    large, small = (
        {
            key: statistics.mean(row[key] for row in rows if row["model"] == each.name)
            for key in ("neighbors", "matched", "by chance", "best")
        }
        for each in chosen()
    )
    return Finding(
        "matching",
        "Heads of maximum similarity are merged, 'without extra training costs' (head matching, 5.2, Table "
        "5)",
        "holds in part",
        f"Relative error after merging pairs: neighbors {large['neighbors']:.3f}, matched "
        f"{large['matched']:.3f}, by chance "
        f"{large['by chance']:.3f}, the best of all pairings {large['best']:.3f} (12.6 M); "
        f"{small['neighbors']:.3f}, "
        f"{small['matched']:.3f}, {small['by chance']:.3f}, {small['best']:.3f} (0.2 M). It costs a pass "
        "over training text "
        "before training.",
        {"table": rows},
    )


def pairings(heads: list[int]) -> list[list[tuple[int, int]]]:
    """Every way to pair them."""
    if not heads:
        return [[]]
    first, *others = heads
    return [
        [(first, other), *rest]
        for other in others
        for rest in pairings([each for each in others if each != other])
    ]


def first() -> Finding:
    return Finding(
        "first",
        "We are the first to directly address the head alignment problem of attention maps in distillation "
        "(Observation "
        "2); all above work requires as many heads (2.2)",
        "false",
        "MiniLMv2 (Wang et al., 2020) re-splits queries, keys and values into relation heads, whose number "
        "is free, for "
        "teachers and students with different heads; `attention.relations` here. Of the work named in 2.2, "
        "DistilBERT "
        "compares no maps at all. Merging the teacher's maps is new as far as we know.",
        {},
    )
