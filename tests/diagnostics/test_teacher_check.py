"""Verdicts follow the numbers, and the doubtful is a note rather than a refusal."""

import pytest
import torch

from stillroom.diagnostics.logit_scale import LogitScale
from stillroom.diagnostics.paired_text import Gain
from stillroom.diagnostics.teacher_check import (
    NO_PROMPT,
    judge_loss,
    judge_reading,
    judge_scale,
    judge_shift,
    judge_student,
    judge_template,
)
from stillroom.diagnostics.token_marks import SHIFTS, TokenMarks

VOCABULARY = 1000  # ln V = 6.91


def marks(
    loss: float, *, entropy: float = 3.0, information: float = 2.0, shift: int = 0, better: float = 0.0
):
    rows = 200
    noise = 0.1 * torch.randn(rows, generator=torch.Generator().manual_seed(0)).double()
    shifted = (loss + 4 + noise)[:, None].repeat(1, len(SHIFTS))
    if shift:
        shifted[:, SHIFTS.index(shift)] = loss - better + noise
    fill = torch.zeros(rows).double()
    return TokenMarks(loss + noise, fill + entropy, fill, shifted, loss + 4 + noise, information)


@pytest.mark.parametrize(
    ("found", "check", "word"),
    [
        (marks(6.9, entropy=6.9, information=0.0), "entropy", "alike"),
        (marks(6.0, entropy=5.0, information=0.001), "information", "whatever it reads"),
        (marks(9.0, entropy=4.0), "loss", "chance level"),
        (marks(float("nan")), "loss", "not finite"),
    ],
)
def test_what_no_teacher_shows_is_refused(found, check, word):
    refused = [each for each in judge_loss(found, VOCABULARY) if each.outcome == "refused"]
    assert [each.check for each in refused] == [check]
    assert word in refused[0].sentence


def test_a_weak_teacher_is_one():
    assert {each.outcome for each in judge_loss(marks(5.5, entropy=5.8, information=1.0), VOCABULARY)} == {
        "ok"
    }


def test_ids_that_are_off_are_named():
    assert judge_shift(marks(8.0)).outcome == "ok"
    assert judge_shift(marks(8.0, shift=3, better=0.5)).outcome == "ok", "half a nat may be chance"
    found = judge_shift(marks(8.0, shift=3, better=4.0))
    assert found.outcome == "refused"
    assert "+3" in found.sentence
    read = {k: marks(8.0) for k in SHIFTS} | {-2: marks(4.0)}
    both = judge_reading(read, marks(8.0))
    assert both is not None
    assert "-2" in both.sentence
    assert judge_reading({k: marks(8.0) for k in SHIFTS}, marks(8.0)) is None


@pytest.mark.parametrize(
    ("scale", "gain", "outcome"),
    [
        (1.05, 0.01, "ok"),
        (0.9, 0.05, "ok"),
        (0.65, 0.3, "note"),
        (0.4, 0.9, "note"),  # tuned by rewards, or for many epochs
        (0.2, 2.0, "refused"),
        (2.0, 0.6, "refused"),
        (3.0, 0.02, "ok"),  # knows the text by heart: nothing is gained
    ],
)
def test_another_temperature_is_told_from_a_sure_model(scale, gain, outcome):
    assert judge_scale(LogitScale(scale, gain, 0.02), 3.0).outcome == outcome


def test_only_a_template_that_can_be_chosen_is_reason_to_refuse():
    clear = Gain(0.4, 5.0, 32)
    assert (
        judge_template("plain", {"alpaca": clear, NO_PROMPT: Gain(-0.5, -6, 32)}, ["alpaca"]).outcome
        == "refused"
    )
    assert judge_template("plain", {"alpaca": clear, NO_PROMPT: Gain(-0.5, -6, 32)}).outcome == "note"
    assert judge_template("plain", {"alpaca": Gain(0.4, 1.5, 32)}, ["alpaca"]).outcome == "ok"
    assert judge_template("plain", {"alpaca": Gain(0.1, 9.0, 32)}, ["alpaca"]).outcome == "note"
    assert judge_template("plain", {NO_PROMPT: Gain(0.15, 3.5, 32)}).outcome == "note"
    assert judge_template("plain", {NO_PROMPT: clear}).outcome == "refused"
    assert judge_template("plain", {NO_PROMPT: Gain(0.4, 5.0, 5)}).outcome == "note"
    assert judge_template("plain", {NO_PROMPT: Gain(-0.01, -0.2, 32)}).outcome == "note"
    assert judge_template("plain", {"chat": None}).outcome == "unknown"


def test_a_weaker_teacher_is_a_note():
    better, worse = marks(3.0).loss, marks(4.0).loss
    assert judge_student(worse, better).outcome == "ok"
    assert judge_student(better, worse).outcome == "note"
