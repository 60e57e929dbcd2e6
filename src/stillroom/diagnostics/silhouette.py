"""How well labeled points fall into clusters, from -1 to 1, and what chance gives.

    s(x) = (b - a) / max(a, b)     a: mean distance to the points of its own label, b: to those of the nearest other

One is clear clusters, zero is none. Euclidean distances; the score is the mean over all points.

Paper:    Rousseeuw (1987), Silhouettes
"""

import torch
from torch import Tensor


def silhouette(points: Tensor, labels: Tensor) -> float:
    """Mean silhouette of `points [N,D]` with `labels [N]`; a label with one point counts zero. Needs two labels."""
    classes = labels.unique()
    if len(classes) < 2:
        raise ValueError("a silhouette compares at least two labels")
    points = points.double()
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    member = (labels[:, None] == classes).double()  # [N, classes]
    sums, sizes = distances @ member, member.sum(dim=0)
    own_size = member @ sizes
    own = (sums * member).sum(dim=1) / (own_size - 1).clamp(min=1)
    other = (sums / sizes).masked_fill(member.bool(), torch.inf).min(dim=1).values
    scale = torch.maximum(own, other)
    scores = torch.where((own_size > 1) & (scale > 0), (other - own) / scale, 0.0)
    return float(scores.mean())


def shuffled_silhouette(points: Tensor, labels: Tensor, seed: int, times: int = 5) -> float:
    """The same with labels at random, mean over `times` shuffles: what no structure at all gives."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(labels), generator=generator).to(labels.device) for _ in range(times)]
    return sum(silhouette(points, labels[order]) for order in orders) / times
