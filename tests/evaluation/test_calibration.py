import pytest
import torch
from reference.calibration import calibration_error

from stillroom.evaluation.calibration import Calibration


def measured(confidence, right, pieces=1, bins=15):
    calibration = Calibration(bins)
    for part, true in zip(confidence.chunk(pieces), right.chunk(pieces), strict=True):
        calibration.add(part, true)
    return calibration.error


@pytest.mark.parametrize("bins", [1, 2, 15])
@pytest.mark.parametrize("pieces", [1, 7])
def test_equals_the_plain_loop_however_it_is_fed(bins, pieces):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=generator, dtype=torch.float64)
    confidence[:2] = torch.tensor([0.0, 1.0])
    right = torch.rand(500, generator=generator) < 0.4
    expected = calibration_error(confidence.tolist(), right.tolist(), bins)
    assert expected > 0.01
    assert measured(confidence, right, pieces, bins) == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    sure_and_wrong = measured(torch.ones(4), torch.tensor([0, 0, 0, 1]))
    assert sure_and_wrong == pytest.approx(0.75)
    assert measured(torch.full((4,), 0.75), torch.tensor([1, 1, 0, 1])) == pytest.approx(0)
    two_bins = measured(torch.tensor([0.9, 0.1]), torch.tensor([0, 1]))
    assert two_bins == pytest.approx(0.9), "errors of opposite sign in two bins must not cancel"
    assert measured(torch.tensor([0.91, 0.89, 0.9]), torch.tensor([1, 1, 0]), bins=1) == pytest.approx(
        0.7 / 3
    )


def test_nothing_has_no_error():
    assert Calibration().error == 0
