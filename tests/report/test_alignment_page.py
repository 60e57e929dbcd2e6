"""The page and the terminal lines of an alignment: every token once, links where bytes are shared, nothing injected."""

import io
import re

import pytest

from stillroom.report.alignment_page import alignment_page
from stillroom.report.alignment_terminal import alignment_text
from stillroom.report.alignment_view import AlignmentView, Token, TwoCuts
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


def test_every_token_stands_on_the_page() -> None:
    page = alignment_page(VIEW)
    tokens = re.findall(r'class="token">([^<]*)<', page)
    assert tokens == ["The", "The", "·stills", "·still", "s", "&lt;b&gt;", "∅"]
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
        ("\U0010fffe".encode(), "<U+10FFFE>"),
        ("🙂日".encode(), "🙂日"),
    ],
)
def test_tokens_as_signs(piece, shown) -> None:
    assert token_text(piece) == shown
