import pytest

from stillroom.report.markup import Markup, clean, element, join, label, shorten


@pytest.mark.parametrize(
    "hostile",
    [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg onload=alert(1)>',
        "' onclick='x",
        "&lt;",
    ],
)
def test_plain_text_never_becomes_markup(hostile):
    for written in (element("p", hostile), element("p", title=hostile), element("p", label(hostile, 90))):
        inside = (
            written.removeprefix('<p title="').removeprefix("<p>").removesuffix('"></p>').removesuffix("</p>")
        )
        assert not set("<>\"'") & set(inside)


def test_markup_is_kept_and_joined():
    assert join(Markup("<b>"), "<b>") == "<b>&lt;b&gt;"
    assert element("br") == "<br>"
    assert element("td", "x", class_=None, aria_label="a b") == '<td aria-label="a b">x</td>'


@pytest.mark.parametrize("character", list("\u202e\u2066\u200b\u200f\x00\x1b\x7f\x9b\ufeff\U000e0041"))
def test_invisible_characters_are_removed(character):
    assert clean(f"a{character}b") == "ab"


def test_what_people_write_stays():
    text = "a\n\tb ё 日本語 🧑\u200d🔬 क\u200cष"
    assert clean(text) == text
    assert clean("a\r\nb\rc\u2028d") == "a\nb\nc\nd"
    assert clean("\ud800\uffff") == "\ufffd\ufffd"


def test_shortening_counts_what_was_cut():
    assert shorten("x" * 10, 10) == "x" * 10
    assert shorten("x" * 2010, 10) == "x" * 10 + "… (2,000 more characters)"


def test_labels_are_one_short_line():
    assert label("a\n b\t\u202ec", 20) == "a b c"
    assert label("x" * 10**6, 8) == "xxxxxxx…"
