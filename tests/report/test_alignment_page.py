"""The page and the terminal lines of an alignment: every token once, links where bytes are shared, nothing injected."""

import io
import re
from dataclasses import replace

import pytest

from stillroom.report.alignment_page import alignment_page
from stillroom.report.alignment_spans import SpanView
from stillroom.report.alignment_terminal import alignment_text
from stillroom.report.alignment_view import AlignmentView, Part, Token, TwoCuts
from stillroom.report.token_text import token_text

CUTS = TwoCuts(
    [Token(b"The", 0, 0, 3), Token(b" stills", 1, 3, 10), Token(b"<b>", 2, 10, 13)],
    [Token(b"The", 0, 0, 3), Token(b" still", 1, 3, 9), Token(b"s", 1, 9, 10), Token(b"", -1, 10, 10)],
)
COUNTS = {
    "texts": 2,
    "dropped": 0,
    "bytes": 13,
    "student_tokens": 3,
    "teacher_tokens": 4,
    "chunks": 2,
}
RATIOS = {
    "exact_ratio": 1 / 3,
    "context_equal_ratio": 2 / 3,
    "eta_ratio": None,
    "teacher_exact_ratio": 0.25,
    "teacher_context_equal_ratio": 0.5,
}
VIEW = AlignmentView("<script>", "a/teacher", COUNTS, RATIOS, 99, [CUTS])
FIGURES = {
    "units": 3,
    "byte_share": 0.75,
    "student_tokens_each": 4 / 3,
    "teacher_tokens_each": None,
    "student_single": 2,
    "teacher_single": 0,
    "student_missing": 0,
    "teacher_missing": 1,
}
SPANS = SpanView(
    "textblob 9",
    2,
    1,
    FIGURES,
    FIGURES,
    FIGURES,
    {"VP": {**FIGURES, "units": 1}, "<NP>": FIGURES, "": FIGURES},
)


def tokens(*pieces: tuple[str, int, Part | None, Part | None]) -> list[Token]:
    found, start = [], 0
    for piece, chunk, word, phrase in pieces:
        end = start + len(piece.encode())
        found.append(Token(piece.encode(), chunk, start, end, word, phrase))
        start = end
    return found


def part(number: int) -> Part:
    return Part(number, True)


def more(number: int) -> Part:
    return Part(number, False)


SENTENCE = TwoCuts(
    tokens(
        ("The", 0, part(0), part(0)),
        (" old", 1, part(1), more(0)),
        (" still", 2, part(2), more(0)),
        ("s", 2, more(2), more(0)),
        (" are", 3, part(3), part(1)),
        (" so", 4, part(4), None),
        (".", 5, None, None),
    ),
    tokens(
        ("The", 0, part(0), part(0)),
        (" old", 1, part(1), more(0)),
        (" stills", 2, part(2), more(0)),
        (" are", 3, part(3), part(1)),
        (" so", 4, part(4), None),
        (".", 5, None, None),
    ),
    ("NP", "VERB"),
)
CROSSED = TwoCuts(  # the teacher's only token ends in the second phrase
    tokens(("a", 0, part(0), part(0)), ("b", 0, part(1), part(1))),
    tokens(("ab", 0, part(1), part(1))),
    ("", "PP"),
    known=False,
)


def spanned(*texts: TwoCuts) -> AlignmentView:
    return replace(VIEW, texts=texts, spans=SPANS)


def printed(view: AlignmentView, width: int = 80) -> list[str]:
    from rich.console import Console

    console = Console(width=width, force_terminal=False, file=io.StringIO(), record=True)
    for each in alignment_text(view, width):
        console.print(each)
    return console.export_text().splitlines()


def test_phrases_stand_under_their_tokens() -> None:
    assert printed(spanned(SENTENCE))[:5] == [
        "student |The|·old|·still¦s|·are|·so|.|",
        "teacher |The|·old|·stills |·are|·so|.|",
        "phrases |NP─┴────┴──────── VERB ┄┄┄",
        "",
        "| both cut   ¦ one side cuts   plain: one token on both sides   colored: several",
    ]


def test_a_phrase_goes_on_through_the_margin_of_the_next_row() -> None:
    lines = printed(spanned(SENTENCE), 24)
    assert lines[2] == "phrases |NP─┴────"
    assert lines[6] == "phrases ┴──────── VERB"  # the label of a lone token has room
    assert lines[4:6] == ["student |·still¦s|·are|", "teacher |·stills |·are|"]


def test_a_label_takes_the_room_of_its_phrase_or_gets_it() -> None:
    cut = TwoCuts(
        tokens(("I", 0, part(0), part(0)), ("a", 1, part(1), part(1)), ("b", 2, part(2), more(1))),
        tokens(("I", 0, part(0), part(0)), ("a", 1, part(1), part(1)), ("b", 2, part(2), more(1))),
        ("NP", "ADJP"),
    )
    assert printed(spanned(cut))[:3] == ["student |I |a|b|", "teacher |I |a|b|", "phrases |NP ADJ"]


def test_where_phrases_fall_otherwise_both_are_shown() -> None:
    lines = printed(spanned(CROSSED))
    assert lines[:5] == [
        "in a language that textblob 9 does not know",
        "phrases |─ P",
        "student |a¦b|",
        "teacher |ab |",
        "phrases |PP─",
    ]


def test_letters_from_the_right_keep_their_columns() -> None:
    from rich.cells import cell_len

    arabic = TwoCuts(*(tokens(("نص", 0, part(0), part(0)), (" ok", 1, part(1), part(1))),) * 2, ("", ""))
    student, teacher, phrases = printed(spanned(arabic))[:3]
    assert student == "student |نص\u200e|·ok|"  # the mark keeps a terminal from turning both tokens around
    assert [cell_len(line) for line in (student, teacher, phrases)] == [16, 16, 15]


def test_who_cut_and_what_was_counted() -> None:
    text, page = "\n".join(printed(spanned(CROSSED), 120)), alignment_page(spanned(CROSSED))
    said = "Words and phrases by textblob 9. It does not know the language of 1 of 2 texts"
    assert said in text
    assert said in page
    rows = SPANS.rows()
    assert [row[0] for row in rows[3:]] == ["· no label", "· <NP>", "· VP"]
    assert rows[1] == ("words", "3", "75\u00a0%", "1.33 · —", "67\u00a0% · 0\u00a0%", "0 · 1")
    assert "In a language that textblob 9 does not know." in page
    assert replace(SPANS, unknown=0).sentence() == "Words and phrases by textblob 9."


def test_the_page_draws_phrases_above_and_says_their_tokens() -> None:
    page = alignment_page(spanned(SENTENCE))
    assert page.count('class="units over"') == page.count('class="chunk') == 6
    assert "units under" not in page.replace(".units.under", "")
    assert page.count("phrase first") == 2
    assert 'title="NP\nstudent 4: The | ·old | ·still | s\nteacher 3: The | ·old | ·stills"' in page
    assert 'title="word\nstudent 1: ·so\nteacher 1: ·so"' in page
    crossed = alignment_page(spanned(CROSSED))
    assert crossed.count('class="units under"') == 1
    assert 'title="phrase\nstudent 1: a\nteacher 0: none\nPP\nstudent 1: b\nteacher 1: ab"' in crossed


def test_without_spans_nothing_speaks_of_them() -> None:
    assert "phrase" not in "\n".join(printed(VIEW))
    assert "Words and phrases" not in alignment_page(VIEW)


def test_every_token_stands_on_the_page() -> None:
    page = alignment_page(VIEW)
    shown = re.findall(r'class="token">([^<]*)<', page)
    assert shown == ["The", "The", "·stills", "·still", "s", "&lt;b&gt;", "∅"]
    assert page.count("<line") == 3  # one for the first chunk, two for the second, none for what has no chunk
    assert "The first 1 of 2 texts." in page
    assert "66.7\u00a0%" in page


def test_nothing_is_injected_and_nothing_is_fetched() -> None:
    page = alignment_page(VIEW)
    assert "<script" not in page
    assert "<b>" not in page
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", page)


def test_a_line_of_the_terminal_never_exceeds_its_width() -> None:
    from rich.console import Console

    console = Console(width=24, force_terminal=False, file=io.StringIO(), record=True)
    for part in alignment_text(VIEW, console.width)[:-2]:
        console.print(part)
    lines = console.export_text().splitlines()
    assert lines[:2] == ["student |The|·stills |", "teacher |The|·still¦s|"]
    assert all(len(line) <= 24 for line in lines)


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (b" a\n\t\r", "·a⏎⇥␍"),
        (b"", "∅"),
        ("日".encode()[:2], "<E6><97>"),
        (b"a " + "日".encode()[1:], "a·<97><A5>"),
        ("\u200b\u202e\x00\u00a0".encode(), "<U+200B><U+202E><U+0000><U+00A0>"),
        ("\u0301".encode(), "◌\u0301"),
        (" \u0947".encode(), "·◌\u0947"),
        ("e\u0301".encode(), "e\u0301"),
        ("\u200d".encode(), "<U+200D>"),
        ("👩\u200d👧".encode(), "👩\u200d👧"),
        ("\U0010fffe".encode(), "<U+10FFFE>"),
        ("🙂日".encode(), "🙂日"),
    ],
)
def test_tokens_as_signs(piece, shown) -> None:
    assert token_text(piece) == shown
