"""Two segmentations of a text for a terminal: the same colors on both lines, and signs where there is no color."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stillroom.report.alignment_view import AlignmentView, Token, TwoCuts
from stillroom.report.token_text import token_text

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

MARGIN = "student |"
COLORS = ("yellow", "cyan", "green", "magenta", "bright_blue", "bright_red")


def alignment_text(view: AlignmentView, width: int) -> "list[Table | Text]":
    """What to print on `width` columns, one after another."""
    from rich.text import Text

    parts: list[Table | Text] = []
    for text in view.texts:
        parts += [*_lines(text, width - len(MARGIN)), Text()]
    legend = "| both cut   ¦ one side cuts   plain: one token on both sides   colored: several"
    return [*parts, Text(legend, style="dim"), _shares(view)]


def _lines(text: TwoCuts, width: int) -> "list[Text]":
    """Student above teacher, chunk under chunk, broken between chunks."""
    from rich.text import Text

    lines: list[Text] = []
    room = many = 0
    for student, teacher in text.chunks():
        style = "strike dim" if student == [] or teacher == [] or student[0].chunk < 0 else ""
        if not style and (len(student) > 1 or len(teacher) > 1):
            style, many = COLORS[many % len(COLORS)], many + 1
        upper, lower = _joined(student, style), _joined(teacher, style)
        needed = 1 + max(upper.cell_len, lower.cell_len)
        if needed > room:
            lines += [Text().append(MARGIN, "bold"), Text().append("teacher |", "bold"), Text()]
            room = width
        room -= needed
        for line, part in zip(lines[-3:-1], (upper, lower), strict=True):
            line.append_text(part).append(" " * (needed - 1 - part.cell_len)).append("|", style="dim")
    return lines[:-1]


def _joined(tokens: Sequence[Token], style: str) -> "Text":
    from rich.text import Text

    joined = Text()
    for number, token in enumerate(tokens):
        joined.append("¦" if number else "", style="dim")
        joined.append(token_text(token.piece), style=style)
    return joined


def _shares(view: AlignmentView) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=view.sentence(), caption_justify="left")
    table.add_column("share of tokens")
    table.add_column("", justify="right", no_wrap=True)
    for name, value in view.rows():
        table.add_row(name, value)
    return table
