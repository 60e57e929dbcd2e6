import pytest

from stillroom.core.errors import BadInput
from stillroom.evaluation.protocol import CLEAN, MINILLM, protocol_named


def test_the_numbers_of_minillm():
    said = MINILLM.describe()
    expected = {
        "max_length": 512,
        "max_prompt_length": 256,
        "max_new_tokens": 256,
        "keeps": "first",
        "greedy": False,
        "seeds": [10, 20, 30, 40, 50],
        "sampling_temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "no_repeat_ngram_size": 6,
        "template": "alpaca",
        "adds_opening": False,
        "max_response_length": 256,
        "scores_end": False,
        "likelihood": "of the first reference, without the end token",
    }
    assert {name: said[name] for name in expected} == expected


def test_clean_forbids_nothing_and_keeps_the_end():
    assert (CLEAN.keeps, CLEAN.no_repeat_ngram_size, CLEAN.greedy, CLEAN.seeds) == ("last", 0, True, ())
    settled = protocol_named("clean", [1, 2], "plain")
    assert (settled.seeds, settled.template, settled.greedy) == ((1, 2), "plain", True)


def test_what_cannot_be_is_refused():
    with pytest.raises(BadInput, match="unknown protocol 'minilm'"):
        protocol_named("minilm")
    with pytest.raises(BadInput, match="twice"):
        protocol_named("clean", [10, 10])
    with pytest.raises(BadInput, match="writes template alpaca"):
        protocol_named("minillm", template="chat")


def test_fewer_answers_are_part_of_the_protocol():
    assert protocol_named("minillm", answered=100).describe()["answered"] == 100
    assert protocol_named("clean").answered is None
