import sys
from importlib.metadata import version

import pytest
from data.spans.conftest import HARD

from stillroom.core.errors import BadInput
from stillroom.data.spans.segmentation import Spans
from stillroom.data.spans.textblob import TextBlob
from stillroom.data.spans.windows import Windows

pytest.importorskip("textblob")


@pytest.fixture(scope="module")
def segmenter() -> TextBlob:
    return TextBlob()


def made_of_whole_words(spans: Spans) -> bool:
    """Whether no phrase begins or ends inside a word."""
    places = spans.phrases.reshape(-1, 1)
    return not ((spans.words[:, 0] < places) & (places < spans.words[:, 1])).any()


@pytest.mark.parametrize("text", HARD)
def test_every_text_is_cut_into_disjoint_pieces(text, segmenter, keeps_the_promise) -> None:
    assert made_of_whole_words(keeps_the_promise(segmenter, text))


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        (
            "The black cat sat on the mat.",
            ["NP the black cat", "VP sat", "PP on", "NP the mat"],
        ),
        (
            "She has never been very happy with an old house.",
            ["NP she", "VP has never been", "ADJP very happy", "PP with", "NP an old house"],
        ),
        # Contractions stay with their verb, whatever the sign.
        ("I don't know.", ["NP i", "VP don't know"]),
        ("I don\u2019t know.", ["NP i", "VP don\u2019t know"]),
        # Words are whole: the first phrase has them, and one that has no other word is gone.
        ("They've gone.", ["NP they've", "VP gone"]),
        ("She's a doctor.", ["NP she's", "NP a doctor"]),
        # Lines end phrases; a bullet is not part of one.
        ("- Red wine\n- White bread", ["NP red wine", "NP white bread"]),
        ("red wine\nwhite bread", ["NP red wine", "NP white bread"]),
        # Signs that are not in the lexicon are no nouns.
        ("the house \u2014 the garden \U0001f600", ["NP the house", "NP the garden"]),
        ("see state-of-the-art tools at https://a.b/c?d=e.", None),
    ],
)
def test_phrases_of_english(text, phrases, segmenter, pieces) -> None:
    spans = segmenter.segment([text])[0]
    found = [
        f"{label} {piece.lower()}"
        for label, piece in zip(spans.labels, pieces(text, spans.phrases), strict=True)
    ]
    assert spans.known
    if phrases is None:
        assert any("state-of-the-art tools" in each for each in found)
        assert any(each.endswith("https://a.b/c?d=e") for each in found)
    else:
        assert found == phrases


def test_words_are_whole(segmenter, pieces) -> None:
    text = "She doesn't like O'Neill's well-known \u201ccafé\u201d."
    spans = segmenter.segment([text])[0]
    assert pieces(text, spans.words) == ["She", "doesn't", "like", "O'Neill's", "well", "known", "café"]


@pytest.mark.parametrize(
    "text",
    [
        "Le chat est sur la table et il mange une pomme avec le chien du voisin.",
        "Wir haben gestern beschlossen, im Sommer ans Meer zu fahren.",
        "El gato está en la mesa y come una manzana con el perro del vecino.",
        "Il gatto è sul tavolo e mangia una mela con il cane del vicino.",
        "De hond was in het huis en de kat is dus bij de deur.",
        "Кошка сидит на столе и ест яблоко.",
        "КОШКА",
        "我喜欢在早上喝咖啡。然后去公园散步。",
        "แมวนั่งอยู่บนโต๊ะและกินแอปเปิ้ล",
        "बिल्ली मेज़ पर बैठी है और सेब खाती है।",
    ],
)
def test_other_languages_are_cut_by_windows_and_said_to_be(text, segmenter, pieces) -> None:
    spans, windows = segmenter.segment([text])[0], Windows().segment([text])[0]
    assert not spans.known
    assert pieces(text, spans.phrases) == pieces(text, windows.phrases)
    assert set(spans.labels) == {""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\U0001f600 1, 2, 3.5",
        "Yes",
        "Tom Hanks, Meryl Streep, Saoirse Ronan",
        "The German word Gem\u00fctlichkeit means a state of warmth.",
        "for i in range(len(xs)):\n    print(xs[i])",
    ],
)
def test_names_numbers_and_borrowed_words_are_no_other_language(text, segmenter) -> None:
    assert segmenter.segment([text])[0].known


def test_identity_names_the_version(segmenter) -> None:
    assert segmenter.identity.startswith(f"textblob {version('textblob')} ")


def test_real_responses(segmenter, dolly, keeps_the_promise) -> None:
    spans = [keeps_the_promise(segmenter, text) for text in dolly]
    assert all(made_of_whole_words(each) for each in spans)
    texts = [text.encode() for text in dolly]
    within = sum(
        len(b"".join(raw[start:end].split()))
        for raw, each in zip(texts, spans, strict=True)
        for start, end in each.phrases
    )
    assert within > 0.85 * sum(len(b"".join(raw.split())) for raw in texts)
    words, phrases = (sum(len(getattr(each, name)) for each in spans) for name in ("words", "phrases"))
    assert 1.3 < words / phrases < 2.2
    assert sum(not each.known for each in spans) <= 3


def test_absent_textblob_is_said_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "textblob", None)
    with pytest.raises(BadInput, match=r"pip install 'stillroom\[spans\]', or set data.spans.use: windows"):
        TextBlob()
