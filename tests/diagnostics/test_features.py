import math

import pytest
import torch

from stillroom.diagnostics.features import AFTER, BEFORE, by_construction, gather, scatters, separation
from stillroom.diagnostics.plane import has_tsne


def cloud(samples: int = 24, width: int = 12, apart: float = 0.0, seed: int = 0) -> dict[str, torch.Tensor]:
    """Three granularities that share their mean, or lie `apart`."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(samples, width, generator=generator, dtype=torch.float64) + apart * index
        for index, name in enumerate(("token", "head", "layer"))
    }


def test_what_does_not_differ_does_not_separate():
    found = separation("student", BEFORE, cloud(), None)
    assert abs(found.silhouette) < 0.05
    assert found.by_construction is None


def test_shuffled_labels_take_the_separation_away():
    found = separation("student", BEFORE, cloud(apart=5.0), None)
    assert found.silhouette > 0.5
    assert abs(found.shuffled) < 0.1


def test_one_feature_separates_by_construction_where_it_has_a_mean():
    """The trap of the paper's figure: nothing but the projections differs between the three clouds."""
    hidden = {name: torch.randn(24, 64, dtype=torch.float64) * 0.1 + 1 for name in ("token", "head", "layer")}
    projected = by_construction(hidden, 16, seed=3)
    found = separation("student", AFTER, projected, hidden, seed=0)
    assert found.silhouette > 0.5
    assert found.by_construction is not None
    assert found.by_construction > 0.5


def test_the_control_reads_one_granularity_only():
    hidden = cloud(apart=5.0)
    changed = {**hidden, "head": hidden["head"] * 100}
    one, other = by_construction(hidden, 4, seed=1), by_construction(changed, 4, seed=1)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_cosines_against_loops():
    points = cloud(samples=5, width=3)

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    lists = {name: each.tolist() for name, each in points.items()}
    pairs = [("token", "head"), ("token", "layer"), ("head", "layer")]
    between = [cosine(lists[a][i], lists[b][i]) for a, b in pairs for i in range(5)]
    within = [
        cosine(each[i], each[j]) for each in lists.values() for i in range(5) for j in range(5) if i != j
    ]
    found = separation("student", BEFORE, points, None)
    assert found.cosine_between == pytest.approx(sum(between) / 15, abs=1e-12)
    assert found.cosine_within == pytest.approx(sum(within) / 60, abs=1e-12)


def test_batches_become_one_cloud_for_each_space():
    part = {"token": (torch.ones(2, 4), torch.zeros(2, 3)), "head": (torch.ones(2, 4), torch.zeros(2, 3))}
    spaces = gather([part, part])
    assert spaces[BEFORE]["token"].shape == (4, 4)
    assert spaces[AFTER]["head"].shape == (4, 3)


def test_a_scatter_holds_every_sample_of_every_cloud(monkeypatch):
    monkeypatch.setattr("stillroom.diagnostics.features.has_tsne", lambda: False)
    drawn = scatters(BEFORE, {"student": cloud(samples=6), "teacher": cloud(samples=6, seed=1)})
    assert [each.method for each in drawn] == ["PCA"]
    assert list(drawn[0].points)[:2] == ["student/token", "student/head"]
    assert all(len(points) == 6 for points in drawn[0].points.values())


@pytest.mark.skipif(not has_tsne(), reason="scikit-learn is optional")
@pytest.mark.slow
def test_tsne_stands_beside_pca_where_it_can_be_had():
    assert [each.method for each in scatters(BEFORE, {"student": cloud()})] == ["PCA", "t-SNE"]
