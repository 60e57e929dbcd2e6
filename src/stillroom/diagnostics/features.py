"""Do granularities occupy different places of feature space, and does that say anything about the models?

Before (H) and after projection (Z), for student and teacher: the silhouette by granularity, the same with shuffled
labels, and the control that matters: *one* feature, sent through an unrelated random orthonormal projection for each
granularity. Where that separates as well, the separation is built in by the projections, whatever the models do.

Paper:    SHARP, Figure 1, which shows the clusters without controls, and "0.68 +- 0.12" as the cosine of granularities
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.inspection import Scatter, Separation
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Signals
from stillroom.diagnostics.plane import has_tsne, principal_components, tsne
from stillroom.diagnostics.silhouette import shuffled_silhouette, silhouette

BEFORE, AFTER, CONTROL = "before projection", "after projection", "one feature, unrelated projections"
Cloud = dict[str, Tensor]
"""Features `[N,D]` by granularity, the same N samples in each."""


@runtime_checkable
class OffersFeatures(Protocol):
    """An objective that shows what it compares."""

    def features(self, signals: Signals, side: Side, shape: ModelShape) -> dict[str, tuple[Tensor, Tensor]]:
        """By granularity: features before `[B,D]` and after projection `[B,d]`."""
        ...


def gather(parts: Sequence[Mapping[str, tuple[Tensor, Tensor]]]) -> dict[str, Cloud]:
    """Features of several batches as one cloud for each space."""
    return {
        space: {
            name: torch.cat([part[name][index].detach().cpu().double() for part in parts])
            for name in parts[0]
        }
        for index, space in enumerate((BEFORE, AFTER))
    }


def separation(
    side: str, space: str, cloud: Cloud, projected_from: Cloud | None, seed: int = 0
) -> Separation:
    """How well the granularities of `cloud` fall apart. `projected_from` is the cloud before projection, for the
    control by construction; None where nothing was projected. Needs two granularities and two samples."""
    points, labels = _labeled(cloud)
    between, between_sd = _between(cloud)
    control = None
    if projected_from is not None:
        control = silhouette(*_labeled(by_construction(projected_from, width_of(cloud), seed)))
    return Separation(
        side=side,
        space=space,
        silhouette=silhouette(points, labels),
        shuffled=shuffled_silhouette(points, labels, seed),
        by_construction=control,
        cosine_between=between,
        cosine_between_sd=between_sd,
        cosine_within=_within(cloud),
    )


def width_of(cloud: Cloud) -> int:
    return next(iter(cloud.values())).shape[1]


def is_finite(cloud: Cloud) -> bool:
    return all(bool(each.isfinite().all()) for each in cloud.values())


def is_same(first: Cloud, second: Cloud) -> bool:
    return all(torch.equal(each, second[name]) for name, each in first.items())


def by_construction(cloud: Cloud, width: int, seed: int) -> Cloud:
    """The features of one granularity alone, through as many unrelated orthonormal projections as there are."""
    feature = next(iter(cloud.values()))
    generator = torch.Generator().manual_seed(seed)
    size = (feature.shape[1], min(width, feature.shape[1]))
    maps = (torch.linalg.qr(torch.randn(size, generator=generator, dtype=torch.float64))[0] for _ in cloud)
    return {name: feature @ each for name, each in zip(cloud, maps, strict=True)}


def scatters(
    space: str, clouds: Mapping[str, Cloud], seed: int = 0, advance: Callable[[str], None] = lambda what: None
) -> list[Scatter]:
    """The clouds of all sides (`{"student": ...}`) in one plane: PCA, and t-SNE where it can be had."""
    names = [f"{side}/{name}" for side, cloud in clouds.items() for name in cloud]
    groups = [each for cloud in clouds.values() for each in cloud.values()]
    points = torch.cat(groups)
    methods = {"PCA": principal_components}
    if has_tsne() and len(points) >= 4:
        methods["t-SNE"] = lambda cloud: tsne(cloud, seed)
    drawn = []
    for method, draw in methods.items():
        advance(f"{method} {space}")
        pieces = draw(points).split([len(group) for group in groups])
        coordinates = {
            name: [(float(f"{x:.4g}"), float(f"{y:.4g}")) for x, y in piece.tolist()]
            for name, piece in zip(names, pieces, strict=True)
        }
        drawn.append(Scatter(space, method, coordinates))
    return drawn


def _labeled(cloud: Cloud) -> tuple[Tensor, Tensor]:
    labels = [torch.full((len(each),), index) for index, each in enumerate(cloud.values())]
    return torch.cat(list(cloud.values())), torch.cat(labels)


def _between(cloud: Cloud) -> tuple[float, float]:
    """Cosine of two granularities of one sample: mean and standard deviation over pairs and samples."""
    cosines = torch.cat([torch.cosine_similarity(a, b) for a, b in combinations(cloud.values(), 2)])
    return float(cosines.mean()), float(cosines.std())


def _within(cloud: Cloud) -> float:
    """Mean cosine of two different samples in one granularity."""
    means = []
    for each in cloud.values():
        unit = torch.nn.functional.normalize(each, dim=1)
        count = len(each)
        means.append(float(((unit @ unit.T).sum() - (unit * unit).sum()) / (count * (count - 1))))
    return sum(means) / len(means)
