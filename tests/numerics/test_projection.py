import pytest
import torch

from stillroom.numerics.projection import (
    effective_rank,
    frames,
    gram_schmidt,
    orthogonality_penalty,
    orthonormality_penalty,
    overlaps,
    smallest_overlap,
)


@pytest.mark.parametrize("initialization", ["joint_qr", "gram_schmidt"])
def test_joint_frames_are_orthonormal_together(initialization):
    made = frames(3, 20, 6, initialization)
    together = made.transpose(0, 1).reshape(20, 18)
    torch.testing.assert_close(together.T @ together, torch.eye(18), atol=1e-6, rtol=0)
    assert orthogonality_penalty(made) < 1e-10


def test_gram_schmidt_is_qr_up_to_signs():
    columns = torch.randn(9, 5, dtype=torch.float64)
    q = torch.linalg.qr(columns).Q
    torch.testing.assert_close(gram_schmidt(columns).abs(), q.abs())


def test_gram_schmidt_survives_columns_that_are_nearly_parallel():
    columns = torch.randn(30, 1, dtype=torch.float64) + 1e-7 * torch.randn(30, 6, dtype=torch.float64)
    found = gram_schmidt(columns)
    torch.testing.assert_close(found.T @ found, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)


def test_independent_frames_overlap_as_random_subspaces_do():
    made = frames(3, 96, 48, "independent_qr")
    torch.testing.assert_close(
        made.transpose(1, 2) @ made, torch.eye(48).expand(3, -1, -1), atol=1e-5, rtol=0
    )
    # E ||W_i^T W_j||_F^2 = d^2 / D
    off = overlaps(made)[0, 1].item()
    assert off == pytest.approx((48**2 / 96) ** 0.5, rel=0.05)


def test_frames_that_do_not_fit_are_at_least_orthonormal_alone():
    made = frames(3, 12, 6, "joint_qr")
    torch.testing.assert_close(made.transpose(1, 2) @ made, torch.eye(6).expand(3, -1, -1), atol=1e-6, rtol=0)


def test_random_columns_have_unit_length_on_average():
    assert frames(2, 400, 50, "random").norm(dim=1).mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("initialization", ["joint_qr", "independent_qr", "gram_schmidt", "random"])
def test_frames_lie_in_memory_as_they_are_read(initialization):
    """A run saves what it trained, and safetensors takes no transposed memory."""
    assert frames(2, 12, 4, initialization).is_contiguous()


def test_overlap_against_loops():
    made = torch.randn(3, 7, 4, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            squares = sum(
                sum(float(made[i, x, a] * made[j, x, b]) for x in range(7)) ** 2
                for a in range(4)
                for b in range(4)
            )
            assert overlaps(made)[i, j].item() == pytest.approx(squares**0.5)


def test_no_orthonormal_frames_go_below_the_bound_and_some_reach_it():
    # three frames of 8 in 12 dimensions, each built from two of three orthogonal blocks of 4: they reach the bound
    blocks = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q.split(4, dim=1)
    made = torch.stack([torch.cat([blocks[a], blocks[b]], 1) for a, b in ((0, 1), (1, 2), (2, 0))])
    reached = (orthogonality_penalty(made).item() / 6) ** 0.5
    assert reached == pytest.approx(smallest_overlap(3, 12, 8))
    random = frames(3, 12, 8, "independent_qr")
    assert (orthogonality_penalty(random).item() / 6) ** 0.5 > reached


def test_the_paper_s_frames_cannot_be_orthogonal():
    assert smallest_overlap(3, 768, 384) == pytest.approx(96**0.5)  # 9.80, asked for: 0.01
    assert smallest_overlap(3, 768, 256) == 0
    assert smallest_overlap(1, 8, 16) == 0


def test_effective_rank_counts_equal_directions_and_sees_collapse():
    assert effective_rank(torch.eye(9)[:, :5]).item() == pytest.approx(5)
    assert effective_rank(torch.ones(9, 5)).item() == pytest.approx(1, abs=1e-4)
    assert (
        effective_rank(torch.zeros(9, 5).index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(3.0)))
        == 1
    )


def test_collapse_meets_one_penalty_and_not_the_other():
    direction = torch.eye(12)[:, :3].T[:, :, None]  # three orthogonal directions, repeated in every column
    collapsed = direction.expand(3, 12, 4) / 2
    assert orthogonality_penalty(collapsed) == 0
    assert orthonormality_penalty(collapsed) > 1
