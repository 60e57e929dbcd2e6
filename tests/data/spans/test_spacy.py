import json
from pathlib import Path

import pytest
from data.spans.conftest import HARD

from stillroom.core.errors import BadInput
from stillroom.data.spans.spacy import Spacy
from stillroom.data.spans.windows import Windows

spacy = pytest.importorskip("spacy")

PARTS = {
    "the": ("DET", "det"),
    "cat": ("NOUN", "nsubj"),
    "mat": ("NOUN", "pobj"),
    "has": ("AUX", "aux"),
    "never": ("ADV", "neg"),
    "slept": ("VERB", "ROOT"),
    "on": ("ADP", "prep"),
    "quickly": ("ADV", "advmod"),
}
"""Part of speech and dependency of the few words that the test's pipeline knows; of all others, X and dep."""


@spacy.Language.factory("lookup_parts")
class LookupParts:
    """A parser and tagger by looking up, so that no weights are needed."""

    def __init__(self, nlp, name) -> None:
        pass

    def __call__(self, doc):
        from spacy.tokens import Doc

        found = [PARTS.get(token.lower_, ("PUNCT" if token.is_punct else "X", "dep")) for token in doc]
        heads = [self._head(doc, token.i, found) for token in doc]
        words, spaces = [token.text for token in doc], [bool(token.whitespace_) for token in doc]
        parts, deps = zip(*found, strict=True) if found else ((), ())
        return Doc(doc.vocab, words=words, spaces=spaces, pos=list(parts), deps=list(deps), heads=heads)

    def _head(self, doc, place: int, found) -> int:
        """A determiner hangs on the next word, all else on the first verb, or on the first word."""
        if found[place][1] == "det" and place + 1 < len(doc):
            return place + 1
        return next((number for number, (part, _) in enumerate(found) if part == "VERB"), 0)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spacy") / "tiny"
    made = spacy.blank("en")
    made.add_pipe("lookup_parts")
    made.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(pipeline: Path) -> Spacy:
    return Spacy(str(pipeline))


@pytest.mark.parametrize("text", HARD)
def test_every_text_is_cut_into_disjoint_pieces(text, segmenter, keeps_the_promise) -> None:
    keeps_the_promise(segmenter, text)


def test_noun_chunks_verb_groups_and_prepositions(segmenter, pieces) -> None:
    text = "\n The cat has never slept quickly on the mat."
    spans = segmenter.segment([text])[0]
    assert pieces(text, spans.phrases) == ["The cat", "has never slept quickly", "on", "the mat"]
    assert spans.labels == ("NP", "VP", "PP", "NP")
    assert pieces(text, spans.words) == text.strip("\n .").split()
    assert spans.known


def test_texts_keep_their_order(segmenter, pieces) -> None:
    texts = ["The cat slept.", "", "The mat", "x" * (segmenter._pipeline.max_length + 1), "On the mat"]
    spans = segmenter.segment(texts)
    assert [pieces(text, each.phrases)[:1] for text, each in zip(texts, spans, strict=True)] == [
        ["The cat"],
        [],
        ["The mat"],
        [texts[3]],
        ["On"],
    ]
    assert [each.known for each in spans] == [True, True, True, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "Le chat est sur la table",  # tagged X
        "mat cat " * 10,  # many words, none of them a stop word
    ],
)
def test_other_languages_are_cut_by_windows_and_said_to_be(text, segmenter, pieces) -> None:
    spans, windows = segmenter.segment([text])[0], Windows().segment([text])[0]
    assert not spans.known
    assert pieces(text, spans.phrases) == pieces(text, windows.phrases)


def test_identity_follows_the_files(pipeline: Path, segmenter, tmp_path: Path) -> None:
    import shutil

    assert segmenter.identity.startswith(f"spacy {spacy.__version__}, en_pipeline ")
    copy = tmp_path / "elsewhere"
    shutil.copytree(pipeline, copy)
    assert Spacy(str(copy)).identity == segmenter.identity
    meta = json.loads((copy / "meta.json").read_text())
    (copy / "meta.json").write_text(json.dumps(meta | {"notes": "trained anew"}))
    assert Spacy(str(copy)).identity != segmenter.identity


def test_pipelines_that_cannot_find_phrases_are_refused(tmp_path: Path) -> None:
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(BadInput, match="finds no dependencies and no parts of speech"):
        Spacy(str(tmp_path / "blank"))
    other = spacy.blank("cs")
    other.add_pipe("lookup_parts")
    other.to_disk(tmp_path / "cs")
    with pytest.raises(BadInput, match="no noun chunks of the language 'cs'"):
        Spacy(str(tmp_path / "cs"))
    with pytest.raises(BadInput, match="'en_absent_sm' cannot be loaded"):
        Spacy("en_absent_sm")
