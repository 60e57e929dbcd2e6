"""Two segmentations of a text for a terminal: the same colors on both lines, and signs where there is no color."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillroom.report.alignment_spans import HEAD, SpanView
from stillroom.report.alignment_strip import Strip
from stillroom.report.alignment_view import AlignmentView, Pair, Token, TwoCuts, fall_alike
from stillroom.report.token_text import token_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

STUDENT, TEACHER, PHRASES = "student |", "teacher |", "phrases |"
COLORS = ("yellow", "cyan", "green", "magenta", "bright_blue", "bright_red")
LEFT_TO_RIGHT = "\u200e"  # takes no column, and keeps Arabic or Hebrew tokens in the order of their columns


def alignment_text(view: AlignmentView, width: int) -> "list[Table | Text]":
    """What to print on `width` columns, one after another."""
    from rich.text import Text

    parts: list[Table | Text] = []
    for text in view.texts:
        if view.spans and not text.known:
            parts.append(Text(f"in a language that {view.spans.cut_by} does not know", "dim"))
        parts += [line for row in _rows(text, width - len(STUDENT)) for line in (*row.lines(), Text())]
    legend = "| both cut   ¦ one side cuts   plain: one token on both sides   colored: several"
    if view.spans is None:
        return [*parts, Text(legend, "dim"), _shares(view)]
    signs = "NP─┴── phrase, ┴ before a word   ┄┄ word in none   above: of the student, where other"
    return [*parts, Text(legend, "dim"), Text(signs, "dim"), _shares(view), _spans(view.spans)]


@dataclass
class _Row:
    """What fits on the width: student above teacher, and around them what their tokens are part of."""

    student: "Text"
    teacher: "Text"
    over: str = ""
    under: str = ""
    alike: bool = True
    """Whether the phrases fall on the tokens of both sides alike: then one line of them is enough."""

    def add(self, chunk: Pair, style: str, strips: "Sequence[Strip]", width: int) -> None:
        """`chunk` on `width` columns, and the sign behind it that both sides cut here."""
        sides = (self.student, self.teacher)
        for line, tokens in zip(sides, chunk, strict=True):
            part = _joined(tokens, style)
            line.append_text(part).append(" " * (width - part.cell_len)).append("|", style="dim")
        self.over += strips[0].draw(chunk[0], width)
        self.under += strips[1].draw(chunk[1], width)
        self.alike &= fall_alike(chunk)

    def lines(self) -> "list[Text]":
        strips = ("" if self.alike else self.over, self.under)
        over, under = ([_signs(strip)] if strip.strip() else [] for strip in strips)
        return [*over, self.student, self.teacher, *under]


def _signs(strip: str) -> "Text":
    """The first sign stands before the first token of the row: a phrase that goes on comes through the margin."""
    from rich.text import Text

    line = Text(strip[1:].rstrip())
    line.highlight_regex(r"\w+", "bold")
    return Text().append(PHRASES[:-1] + strip[0].replace(" ", "|"), "bold").append_text(line)


def _rows(text: TwoCuts, width: int) -> "list[_Row]":
    """Chunk under chunk, broken between chunks."""
    from rich.text import Text

    rows: list[_Row] = []
    strips = [Strip(side, text.labels or ()) for side in (text.student, text.teacher)]
    room = many = 0
    for chunk in text.chunks():
        student, teacher = chunk
        style = "strike dim" if student == [] or teacher == [] or student[0].chunk < 0 else ""
        if not style and (len(student) > 1 or len(teacher) > 1):
            style, many = COLORS[many % len(COLORS)], many + 1
        columns = max(
            max(_joined(side, style).cell_len, strip.least(side))
            for side, strip in zip(chunk, strips, strict=True)
        )
        if 1 + columns > room:
            rows.append(_Row(Text().append(STUDENT, "bold"), Text().append(TEACHER, "bold")))
            room = width
        room -= 1 + columns
        rows[-1].add(chunk, style, strips, columns)
    return rows


def _joined(tokens: Sequence[Token], style: str) -> "Text":
    from rich.text import Text

    joined = Text()
    for number, token in enumerate(tokens):
        joined.append("¦" if number else "", style="dim")
        shown = token_text(token.piece)
        joined.append(shown, style=style).append(LEFT_TO_RIGHT if _from_right(shown) else "")
    return joined


def _from_right(shown: str) -> bool:
    return any(unicodedata.bidirectional(letter) in ("R", "AL", "AN") for letter in shown)


def _shares(view: AlignmentView) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=view.sentence(), caption_justify="left")
    table.add_column("share of tokens")
    table.add_column("", justify="right", no_wrap=True)
    for name, value in view.rows():
        table.add_row(name, value)
    return table


def _spans(spans: SpanView) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=spans.sentence(), caption_justify="left")
    for number, name in enumerate(HEAD):
        table.add_column(name, justify="right" if number else "left")
    for row in spans.rows():
        table.add_row(*row)
    return table
