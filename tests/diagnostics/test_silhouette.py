import pytest
import torch
from reference import silhouette as plain

from stillroom.diagnostics.silhouette import shuffled_silhouette, silhouette


@pytest.mark.parametrize("sizes", [(5, 7, 3), (1, 4, 6), (8, 8)])
def test_equals_the_definition(sizes):
    torch.manual_seed(sum(sizes))
    labels = torch.cat([torch.full((size,), index) for index, size in enumerate(sizes)])
    points = torch.randn(len(labels), 4, dtype=torch.float64) + labels[:, None]
    assert silhouette(points, labels) == pytest.approx(
        plain.silhouette(points.tolist(), labels.tolist()), abs=1e-12
    )


def test_equal_points_count_zero():
    labels = torch.tensor([0, 0, 1, 1])
    assert silhouette(torch.zeros(4, 2), labels) == 0


def test_far_clusters_are_near_one_and_shuffling_removes_them():
    torch.manual_seed(0)
    labels = torch.arange(3).repeat_interleave(20)
    points = torch.randn(60, 5) + 30 * torch.nn.functional.one_hot(labels, 5)
    assert silhouette(points, labels) > 0.9
    assert abs(shuffled_silhouette(points, labels, seed=1)) < 0.1
    assert shuffled_silhouette(points, labels, seed=1) == shuffled_silhouette(points, labels, seed=1)


def test_one_label_is_refused():
    with pytest.raises(ValueError, match="at least two labels"):
        silhouette(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
