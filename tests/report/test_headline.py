import math

import pytest

from stillroom.report.headline import headline
from stillroom.report.read import read_runs


def words(*folders):
    return " ".join(headline(read_runs(folders))).replace("\u00a0", " ")


def test_what_was_distilled_into_what(make_run):
    text = words(make_run())
    assert text.startswith(
        "The run forward_kl distilled opt-1.3b (1.32 B parameters) into opt-125m (125 M parameters)"
    )
    assert "on 2.10 M response tokens in 1 h 12 min." in text
    assert "fell from 31.19 to 17.37; the teacher has 12.06. That closes 62 % of the gap" in text


def test_several_teachers_are_all_named(make_run):
    both = {"source": "facebook/opt-1.3b + models\\large/", "parameters": 2e9}
    text = words(make_run(models={"teacher": both, "student": {"source": "facebook/opt-125m"}}))
    assert "distilled opt-1.3b + large (2.00 B parameters) into opt-125m" in text


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (3.0, "The run hard did worse, with 20.09."),
        (2.5, "The run hard did better, with 12.18."),
        (2.855, "reached the same"),
    ],
)
def test_the_other_run(make_run, loss, sentence):
    assert sentence in words(make_run(), make_run("hard", loss=loss))


def test_one_of_many(make_run):
    assert "number 2 of 3 runs; the best is c" in words(
        make_run(), make_run("b", loss=3.0), make_run("c", loss=2.0)
    )
    assert "best of the 3 runs that were evaluated" in words(
        make_run(), make_run("b", loss=3.0), make_run("c", loss=4.0), make_run("d", final={})
    )


def test_worse_is_called_worse(make_run):
    text = words(make_run(loss=4.0))
    assert "rose from 31.19 to 54.60, so training made the student worse" in text
    assert "closes" not in text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"exit": "stopped", "final": {}}, "was stopped before its end"),
        ({"final": {}}, "It has no held-out evaluation."),
        ({"final": {"loss": math.nan}}, "is not a finite number"),
        ({"teacher": {}, "models": {}}, "trained a student without a teacher"),
        ({"baseline": {}}, "Held-out perplexity is 17.37; the teacher has 12.06."),
        ({"teacher": {"loss": 5.0}}, "no gap to close"),
        ({"final": {"loss": 900.0}, "baseline": {}}, "e^900.00"),
    ],
)
def test_what_is_missing(make_run, changed, sentence):
    assert sentence in words(make_run(**changed))
