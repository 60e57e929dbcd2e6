"""Marks of predicted tokens and the best scale of logits equal their definitions."""

import math

import pytest
import torch
from reference import token_marks as reference

from stillroom.diagnostics import logit_scale, token_marks
from stillroom.diagnostics.logit_scale import best_scale
from stillroom.diagnostics.token_marks import OUTSIDE, SHIFTS
from stillroom.diagnostics.voice import Voice


def voice(
    rows: int = 40, size: int = 11, seed: int = 0, sharpness: float = 2.0
) -> tuple[Voice, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(rows, size, generator=generator)
    targets = torch.multinomial((0.7 * logits).softmax(-1), 1, generator=generator)[:, 0]
    previous = torch.randint(size, (rows,), generator=generator)
    return Voice(lambda part: logits[part], size, targets, previous, torch.arange(rows) // 8), logits


def test_marks_equal_their_definitions_in_chunks(monkeypatch):
    monkeypatch.setattr(token_marks, "CHUNK_ELEMENTS", 7 * 11)
    heard, logits = voice()
    found = token_marks.token_marks(heard)
    for shift in (-8, -1, 1, 3):
        wanted = reference.marks(
            logits.double().tolist(), heard.targets.tolist(), heard.previous.tolist(), shift, OUTSIDE
        )
        for name in ("loss", "entropy", "hit", "repeated"):
            assert getattr(found, name).tolist() == pytest.approx(wanted[name], abs=1e-5)
        assert found.shifted[:, SHIFTS.index(shift)].tolist() == pytest.approx(wanted["shifted"], abs=1e-5)
        assert found.information == pytest.approx(wanted["information"], abs=1e-5)


def test_a_model_that_does_not_listen_gives_no_information():
    row = torch.randn(1, 11, generator=torch.Generator().manual_seed(1))
    heard, _ = voice()
    deaf = Voice(lambda part: row.expand(40, 11)[part], 11, heard.targets, heard.previous, heard.samples)
    assert token_marks.token_marks(deaf).information == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_best_scale_is_that_of_a_search(monkeypatch, factor):
    monkeypatch.setattr(logit_scale, "CHUNK_ELEMENTS", 13 * 11)
    heard, logits = voice(rows=300)
    scaled = Voice(lambda part: factor * logits[part], 11, heard.targets, heard.previous, heard.samples)
    found = best_scale(scaled)
    rows, targets = (factor * logits.double()).tolist(), heard.targets.tolist()
    wanted = reference.best_scale(rows, targets)
    assert found.scale == pytest.approx(wanted, rel=2e-3)
    gain = reference.scaled_loss(rows, targets, 1.0) - reference.scaled_loss(rows, targets, wanted)
    assert found.gain == pytest.approx(gain, abs=1e-4)
    assert found.scale * factor == pytest.approx(0.7, rel=0.2), "the targets were drawn at 0.7 of the logits"


def test_a_scale_beyond_the_bracket_stays_within_it():
    heard, logits = voice(sharpness=1.0)
    certain = Voice(lambda part: logits[part], 11, logits.argmax(-1), heard.previous, heard.samples)
    found = best_scale(certain)
    assert 8 < found.scale <= 16
    assert math.isfinite(found.gain)
