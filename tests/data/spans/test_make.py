import sys

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.spans.cache import Cached
from stillroom.data.spans.make import make_segmenter
from stillroom.data.spans.windows import Windows


def test_windows_are_never_cached() -> None:
    assert isinstance(make_segmenter("windows"), Windows)


def test_textblob_is_cached_where_the_user_keeps_such_things(tmp_path, monkeypatch) -> None:
    pytest.importorskip("textblob")
    from stillroom.data.spans.textblob import TextBlob

    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path))
    made = make_segmenter("textblob")
    assert isinstance(made, Cached)
    made.segment(["A black cat sat there."])
    assert (tmp_path / "spans.sqlite").exists()
    assert isinstance(make_segmenter("textblob", cache=False), TextBlob)
    assert made.identity == make_segmenter("textblob", cache=False).identity


@pytest.mark.parametrize(
    ("use", "pipeline", "words"),
    [
        ("nltk", None, "unknown 'nltk'; expected one of textblob, spacy, windows"),
        ("spacy", None, "data.spans.pipeline: spacy needs the name or the folder"),
        ("textblob", "en_core_web_sm", "data.spans.pipeline: textblob takes none"),
    ],
)
def test_bad_choices_are_said_in_a_sentence(use, pipeline, words) -> None:
    with pytest.raises(BadInput) as caught:
        make_segmenter(use, pipeline)
    assert words in str(caught.value)


def test_absent_spacy_is_said_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(BadInput, match=r"stillroom\[spacy\]"):
        make_segmenter("spacy", "en_core_web_sm")
