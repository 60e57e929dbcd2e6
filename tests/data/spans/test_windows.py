import subprocess
import sys

import pytest
from data.spans.conftest import HARD

from stillroom.data.spans.windows import Windows


@pytest.mark.parametrize("text", HARD)
def test_every_text_is_cut_into_disjoint_pieces(text, keeps_the_promise) -> None:
    keeps_the_promise(Windows(), text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It isn't 3.5 or 1,000, e.g. foo_bar.", ["It", "isn't", "3.5", "or", "1,000", "e.g", "foo_bar"]),
        ("Über-Maß: naïve!", ["Über", "Maß", "naïve"]),
        ("我喜欢", ["我", "喜", "欢"]),
        ("кошка, собака", ["кошка", "собака"]),
        ("cafe\u0301 \U0001f600", ["cafe\u0301"]),
    ],
)
def test_words_are_those_of_unicode(text, words, pieces) -> None:
    spans = Windows().segment([text])[0]
    assert pieces(text, spans.words) == words
    assert spans.known


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("one two three four", ["one two three", "four"]),
        ("one two, three  four", ["one two", "three  four"]),
        ("one\ntwo three\r\nfour", ["one", "two three", "four"]),
        ("one\u2028two \U0001f600 three", ["one", "two", "three"]),
        ("我喜欢咖啡。好", ["我喜欢", "咖啡", "好"]),
        ("well-known (fact)", ["well", "known", "fact"]),
        ("", []),
    ],
)
def test_phrases_are_runs_of_three_words_that_nothing_separates(text, phrases, pieces) -> None:
    spans = Windows().segment([text])[0]
    assert pieces(text, spans.phrases) == phrases
    assert spans.labels == ("",) * len(phrases)


def test_progress_is_told_of_blocks() -> None:
    told: list[tuple[int, int]] = []
    found = Windows().segment(
        ["a b"] * 300, advance=lambda done, total, detail="": told.append((done, total))
    )
    assert len(found) == 300
    assert told == [(256, 300), (300, 300)]


def test_cutting_needs_neither_torch_nor_a_parser() -> None:
    script = (
        "import sys; from stillroom.data.spans.make import make_segmenter; make_segmenter('windows').segment(['a b']);"
        "print({name for name in ('torch', 'textblob', 'spacy', 'nltk') if name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
