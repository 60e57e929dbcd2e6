"""The claims of the SHARP paper: the formulas behind the verdicts, against plain loops and known cases."""

import json
import sys
from pathlib import Path

import pytest
import torch
from reference import sharp_algebra as reference

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "sharp"))

import algebra  # noqa: E402, F401 (puts the benchmarks on the path)
from claims import costs, frames, gradients, libraries, maps, tables  # noqa: E402


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


def test_overlap_is_that_of_plain_loops(generator):
    found = frames.independent(3, 3, 5, generator)
    assert frames.overlap(found) == pytest.approx(reference.overlap([f.tolist() for f in found]), rel=1e-12)


@pytest.mark.parametrize(("count", "size", "width"), [(3, 6, 12), (3, 5, 12), (4, 6, 8), (2, 3, 12)])
def test_no_frames_go_below_the_bound(generator, count, size, width):
    bound = frames.smallest_overlap(count, width, size)
    assert all(frames.overlap(frames.independent(count, size, width, generator)) >= bound for _ in range(20))
    assert (bound == 0) == (count * size <= width)


def test_three_lines_reach_the_bound():
    found = frames.tight(4)
    assert frames.overlap(found) == pytest.approx(frames.smallest_overlap(3, 8, 4), rel=1e-12)
    assert all(torch.allclose(each.T @ each, torch.eye(4, dtype=torch.float64)) for each in found)


def test_the_bounds_of_table_7():
    assert frames.smallest_overlap(3, 768, 384) == pytest.approx(96**0.5)
    assert [round(frames.smallest_overlap(3, 768, size), 2) for size in (256, 512, 768)] == [0, 16, 27.71]


def test_joint_frames_are_orthogonal_and_independent_ones_are_as_expected(generator):
    assert frames.overlap(frames.joint(3, 4, 12, generator)) < 1e-14
    found = [frames.overlap(frames.independent(3, 8, 16, generator)) ** 2 for _ in range(100)]
    assert sum(found) / 100 == pytest.approx(8 * 8 / 16, rel=0.05)


def test_gram_schmidt_is_qr_up_to_signs(generator):
    matrix = frames.gaussian(6, 6, generator)
    steps, qr = frames.gram_schmidt(matrix), torch.linalg.qr(matrix)[0]
    assert torch.allclose((steps.T @ qr).abs(), torch.eye(6, dtype=torch.float64))


def test_effective_rank_counts_directions(generator):
    (frame,) = frames.independent(1, 5, 9, generator)
    assert frames.effective_rank(frame).item() == pytest.approx(5)
    assert frames.effective_rank(
        frame[:, :1] @ torch.ones(1, 5, dtype=torch.float64)
    ).item() == pytest.approx(1)


def test_the_penalty_is_met_by_losing_rank():
    found = frames.meet_penalty(4, 8, steps=300, learning_rate=1e-2, beside_cosine=False)
    assert found["overlap"] < 0.01
    assert found["largest rank"] < 4


def test_pooling_and_profile_are_those_of_plain_loops(generator):
    attention = maps.causal_maps(1, 6, generator)
    pooled = maps.received(attention)[0]
    assert torch.allclose(
        pooled, torch.tensor(reference.received(attention[0].tolist()), dtype=torch.float64)
    )
    profile = reference.received(reference.uniform_map(6))
    assert maps.uniform_profile(6).tolist() == pytest.approx(profile)


def test_maps_are_causal_and_their_rows_sum_to_one(generator):
    attention = maps.causal_maps(3, 5, generator)
    assert torch.equal(attention, attention.tril())
    assert torch.allclose(attention.sum(dim=-1), torch.ones(3, 5, dtype=torch.float64))


@pytest.mark.parametrize("inputs", ["with bias", "without bias"])
def test_trained_projections_lower_the_loss_of_a_student_that_learns_nothing(inputs):
    found = maps.train_projections(inputs, steps=60, pairs=16, length=8)
    assert found["after"] < found["before"] / 2
    assert found["fresh, after"] < found["before"]


def test_a_trained_integration_forgets_its_input():
    before, after = maps.integrated(60, detach_teacher=False)
    assert after < before / 10


def test_both_sides_of_the_lemma_are_those_of_plain_loops(generator):
    found = frames.gaussian(3, 7, generator)
    assert gradients.lemma_sides(found) == pytest.approx(reference.lemma_sides(found.tolist()))
    left, right = gradients.lemma_sides(found[:1].repeat(2, 1))
    assert left == pytest.approx(2 * right)


def test_equation_13_lacks_one_sum(generator):
    found = gradients.equation_13(frames.gaussian(3, 7, generator))
    assert found["mended"] == pytest.approx(found["true"])
    assert found["printed"] < found["true"]


def test_interference_of_the_three_cases():
    first, second = torch.eye(2, dtype=torch.float64)
    found = [gradients.interference(first, other) for other in (first, second, -first)]
    assert found == pytest.approx([0, 1, 2])


def test_turning_a_frame_aligns_gradients_and_leaves_the_overlap_at_zero():
    overlap, cosine = gradients.worst_rotation(1)
    assert overlap < 1e-13
    assert cosine > 0.9


def test_orthogonal_frames_separate_gradients_at_shared_features_only(generator):
    pair = frames.joint(2, 4, 12, generator)
    at_features, at_parameters = gradients.shared_trunk(pair, False, True, generator)
    assert abs(at_features) < 1e-12
    assert abs(at_parameters) > 1e-3
    one = frames.independent(1, 4, 12, generator) * 2
    assert gradients.shared_trunk(one, False, True, generator) == pytest.approx((-1, -1))


def test_the_proofs_ratio_of_pairs():
    assert gradients.pair_ratio(3, 3) == 0
    assert gradients.pair_ratio(9, 3) == 0.25


def test_tables_are_complete_and_the_known_errors_are_found():
    assert all(len(row) == 4 for row in (*tables.TABLE_1.values(), *tables.TABLE_9.values()))
    assert all(len(detail) == 8 for rows in tables.TABLE_9.values() for detail in rows)
    wrong = {(row["method"], row["teacher"], row["column"]): row for row in tables.mismatches()}
    assert wrong["SHARP", "350M", "NLG"]["recomputed"] == pytest.approx(50.206)
    assert "F-Distill 350M" in wrong["SHARP", "350M", "NLG"]["is the value of"]
    assert ("SHARP", "1.3B", "NLG") not in wrong
    assert "Reverse KD 2.7B = Supervised 2.7B (NLG and NLU)" in tables.repeated()


def test_arithmetic_of_cost():
    assert costs.parameters()["W"] == 884_736
    assert costs.capacity_ratio(0.68) == pytest.approx(4.64, abs=0.005)
    assert costs.log_ball_volume(2) == pytest.approx(1.1447, abs=1e-4)  # log of pi
    assert tables.deviations_from_chance(25) == 0


@pytest.mark.parametrize("family", libraries.FAMILIES)
def test_what_transformers_returns_as_attention(family):
    least, most = libraries.row_sums(family, training=True)
    assert least < 0.95
    assert most > 1.05
    assert libraries.row_sums(family, training=False) == pytest.approx((1, 1), abs=1e-5)
    assert libraries.padded_row(family) == pytest.approx([1 / 16] * 16)
    assert libraries.maps_under_sdpa(family) == 0


def test_onecycle_moves_beta_1():
    assert libraries.onecycle_betas() == pytest.approx((0.85, 0.95), abs=0.01)


def test_attention_follows_a_permutation_and_its_mean_does_not():
    in_place, of_mean = libraries.permuted()
    assert in_place > 0.1
    assert of_mean < 1e-12
    assert not libraries.algorithm_4_runs(4, 3)
    assert not libraries.algorithm_4_runs(3, 3)


def test_committed_results_hold_every_claim():
    committed = json.loads((ROOT / "benchmarks" / "results" / "sharp_algebra.json").read_text())["findings"]
    found = [*tables.findings(), *costs.findings()]
    assert {each.name for each in found} <= set(committed)
    assert all(committed[each.name]["sentence"] == each.sentence for each in found)


def test_the_page_of_the_paper_cites_every_finding():
    committed = json.loads((ROOT / "benchmarks" / "results" / "sharp_algebra.json").read_text())["findings"]
    page = (ROOT / "docs" / "papers" / "sharp.md").read_text()
    assert [name for name in committed if f"`{name}`" not in page] == []
