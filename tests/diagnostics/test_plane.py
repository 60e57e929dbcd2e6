import pytest
import torch

from stillroom.diagnostics.plane import has_tsne, principal_components, tsne


def test_components_carry_the_largest_variances():
    torch.manual_seed(0)
    points = torch.randn(50, 6, dtype=torch.float64) * torch.tensor([0.1, 3, 0.2, 2, 0.1, 0.1])
    drawn = principal_components(points)
    expected = torch.linalg.eigvalsh(torch.cov(points.T)).flip(0)[:2]
    assert torch.allclose(drawn.var(dim=0), expected)
    assert torch.allclose(drawn.mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-12)


def test_the_same_picture_whatever_the_order_of_samples():
    torch.manual_seed(1)
    points, order = torch.randn(20, 5), torch.randperm(20)
    assert torch.allclose(principal_components(points)[order], principal_components(points[order]), atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 1), (4, 4)])
def test_few_points_and_dimensions(shape):
    assert principal_components(torch.ones(shape)).shape == (shape[0], 2)


@pytest.mark.skipif(not has_tsne(), reason="scikit-learn is optional")
@pytest.mark.slow
def test_tsne_keeps_far_groups_apart():
    torch.manual_seed(0)
    points = torch.cat([torch.randn(20, 8), torch.randn(20, 8) + 50])
    drawn = tsne(points)
    first, second = drawn[:20], drawn[20:]
    assert torch.cdist(first, second).min() > torch.cdist(first, first.mean(0, keepdim=True)).mean()
