import unicodedata
from typing import Any

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.columns import Prompt, Sample, to_samples
from stillroom.data.sources import Records
from stillroom.data.spans.given import given_spans

TEXT = "Öl und Käse. Gut"
WORDS = [[0, 2], [3, 6], [7, 11], [13, 16]]
PHRASES = [[0, 11, "NP"], [13, 16]]


def sample(spans: Any, response: str = TEXT) -> Sample:
    return Sample(0, "data.jsonl:7", Prompt("p"), response, (response,), spans)


def test_letters_become_bytes(pieces) -> None:
    spans = given_spans(sample({"words": WORDS, "phrases": PHRASES}), TEXT, "letters")
    assert pieces(TEXT, spans.words) == ["Öl", "und", "Käse", "Gut"]
    assert pieces(TEXT, spans.phrases) == ["Öl und Käse", "Gut"]
    assert spans.labels == ("NP", "")
    assert spans.known


def test_bytes_stay(pieces) -> None:
    spans = given_spans(sample({"words": [[0, 3], [4, 7], [8, 13]]}), TEXT, "bytes")
    assert pieces(TEXT, spans.words) == ["Öl", "und", "Käse"]
    assert spans.phrases.shape == (0, 2)


def test_a_template_may_stand_around_the_response(pieces) -> None:
    around = f"ä\n{TEXT}\n"
    spans = given_spans(sample({"words": WORDS}), around, "letters")
    assert pieces(around, spans.words) == ["Öl", "und", "Käse", "Gut"]


def test_a_template_may_trim_the_response(pieces) -> None:
    shifted = [[start + 2, end + 2] for start, end in WORDS]
    spans = given_spans(sample({"words": shifted}, f" \n{TEXT}. \n"), f"ä{TEXT}.", "letters")
    assert pieces(f"ä{TEXT}.", spans.words) == ["Öl", "und", "Käse", "Gut"]


def test_letters_may_be_composed_meanwhile(pieces) -> None:
    apart = unicodedata.normalize("NFD", TEXT)
    words = [[0, 4], [5, 8], [9, 15], [17, 20]]  # bytes: a dot over a letter has two
    assert [apart.encode()[start:end].decode() for start, end in words][1::2] == ["und", "Gut"]
    for text in (TEXT, apart):
        spans = given_spans(sample({"words": words}, apart), text)
        assert [unicodedata.normalize("NFC", each) for each in pieces(text, spans.words)] == [
            *("Öl", "und", "Käse", "Gut")
        ]


@pytest.mark.parametrize("text", ["another", TEXT + TEXT, ""])
def test_other_texts_have_none(text) -> None:
    spans = given_spans(sample({"words": WORDS}), text, "letters")
    assert spans.words.shape == spans.phrases.shape == (0, 2)


@pytest.mark.parametrize("value", [None, {}, {"words": None}, {"words": [], "phrases": []}])
def test_nothing_is_no_error(value) -> None:
    assert len(given_spans(sample(value), TEXT).words) == 0
    assert len(given_spans(sample(value, ""), "").phrases) == 0


@pytest.mark.parametrize(
    ("value", "offsets", "words"),
    [
        ([[0, 2]], "letters", 'spans must be an object {"words"'),
        ({"word": [[0, 2]]}, "letters", "got the keys 'word'"),
        ({"words": 3}, "letters", "words of the spans must be a list, got 3"),
        (
            {"words": [[0, 2], [3]]},
            "letters",
            "words[1] of the spans must be [start, end] in whole numbers, got [3]",
        ),
        ({"words": [[0, 2, "NP"]]}, "letters", "words[0]"),
        ({"words": [[0, 2.5]]}, "letters", "words[0]"),
        ({"words": [[False, True]]}, "letters", "words[0]"),
        ({"words": [[-1, 2]]}, "letters", "words[0]"),
        ({"words": [[0, 10**30]]}, "letters", "words[0]"),
        (
            {"phrases": [[0, 2, 5]]},
            "letters",
            "phrases[0] of the spans must be [start, end] or [start, end, label]",
        ),
        ({"words": [[0, 17]]}, "letters", "[0, 17], which is no span of a response of 16 letters"),
        ({"words": [[2, 2]]}, "letters", "[2, 2], which is no span"),
        ({"words": [[0, 19]]}, "bytes", "a response of 18 bytes"),
        ({"words": [[3, 6], [0, 2]]}, "letters", "[3, 6] and [0, 2], which overlap or are out of order"),
        ({"phrases": [[0, 5], [4, 6]]}, "letters", "phrases of the spans hold [0, 5] and [4, 6]"),
        ({"words": [[0, 1]]}, "bytes", "cuts a letter of several bytes"),
    ],
)
def test_bad_spans_are_named(value, offsets, words) -> None:
    with pytest.raises(BadInput) as caught:
        given_spans(sample(value), TEXT, offsets)
    assert str(caught.value).startswith("data.jsonl:7: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_column_is_read_where_it_is_asked_for() -> None:
    rows = [
        {"prompt": "p", "completion": "o", "cuts": {"words": [[0, 1]]}},
        {"prompt": "p", "completion": "o"},
    ]
    records = Records("a.jsonl", "hash", rows, ["a.jsonl:1", "a.jsonl:2"])
    assert [each.spans for each in to_samples(records)] == [None, None]
    with pytest.raises(
        BadInput, match=r"a\.jsonl:2: no column 'cuts' of spans among the keys 'prompt', 'completion'"
    ):
        to_samples(records, spans_field="cuts")
    kept = to_samples(records, "skip", spans_field="cuts")
    assert [each.spans for each in kept] == [{"words": [[0, 1]]}]
    assert len(kept.skipped) == 1
