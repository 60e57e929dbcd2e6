"""Two segmentations of a text and their links as one self-contained HTML page: student above, teacher below."""

from collections.abc import Sequence
from pathlib import Path

from stillroom.report.alignment_view import AlignmentView, Token, TwoCuts
from stillroom.report.document import document, section
from stillroom.report.markup import Markup, element, join, label
from stillroom.report.token_text import token_text

COLORS = 6


def alignment_page(view: AlignmentView) -> str:
    """The whole document."""
    student, teacher = label(view.student, 60), label(view.teacher, 60)
    top = element(
        "header",
        element("p", "Stillroom alignment", class_="eyebrow"),
        element("h1", f"{teacher} → {student}"),
        element("p", element("strong", view.sentence()), class_="lead"),
    )
    shown = [element("div", *map(_chunk, *_numbered(text)), class_="cuts") for text in view.texts]
    count = view.counts["texts"]
    more = f"The first {len(shown)} of {count:,} texts. " if len(shown) < count else ""
    style = element("style", Markup(Path(__file__).with_suffix(".css").read_text(encoding="utf-8")))
    main = element(
        "main",
        style,
        top,
        section("Shares", _shares(view)),
        section("Tokens", element("p", more, *_legend(), class_="legend"), *shown),
    )
    return document(f"{teacher} → {student}", main)


def _legend() -> Sequence[str]:
    return (
        "Student above, teacher below; a line joins tokens that have bytes in common. ",
        element("span", "Gray", class_="key"),
        " is one token on both sides, ",
        element("span", "colored", class_="key many c0"),
        " several tokens that only together are the same bytes; struck through is what has no counterpart. "
        "· is a space, ⏎ a newline, <E6> a byte that is part of a letter, ∅ a token without bytes.",
    )


def _shares(view: AlignmentView) -> Markup:
    counted = {
        "texts": "texts",
        "dropped": "texts that a tokenizer rewrites beyond recognition",
        "bytes": "bytes",
        "student_tokens": "student's tokens",
        "teacher_tokens": "teacher's tokens",
        "chunks": "smallest pieces with common ends",
    }
    rows = [*view.rows(), *((text, f"{view.counts[key]:,}") for key, text in counted.items())]
    rows.append(("tokens that both vocabularies have, by bytes", f"{view.shared_tokens:,}"))
    body = (element("tr", element("th", name, scope="row"), element("td", value)) for name, value in rows)
    return element("table", element("tbody", *body), class_="results shares")


def _numbered(text: TwoCuts) -> tuple[Sequence[tuple[list[Token], list[Token]]], Sequence[int]]:
    """Chunks, and the number of every one among those that need a color."""
    chunks = text.chunks()
    numbers, many = [], 0
    for student, teacher in chunks:
        numbers.append(many)
        many += len(student) != 1 or len(teacher) != 1
    return chunks, numbers


def _chunk(chunk: tuple[list[Token], list[Token]], number: int) -> Markup:
    student, teacher = chunk
    if not student or not teacher or student[0].chunk < 0:
        kind = "none"
    elif len(student) == len(teacher) == 1:
        kind = "one"
    else:
        kind = f"many c{number % COLORS}"
    return element("span", _side(student), _links(student, teacher), _side(teacher), class_=f"chunk {kind}")


def _side(tokens: Sequence[Token]) -> Markup:
    return element(
        "span",
        *(element("span", token_text(token.piece), class_="token") for token in tokens),
        class_="side",
    )


def _links(student: Sequence[Token], teacher: Sequence[Token]) -> Markup:
    """A line from the middle of every token to those below that it has bytes in common with."""
    lines = [
        element(
            "line",
            x1=f"{100 * (i + 0.5) / len(student):.2f}",
            y1=0,
            x2=f"{100 * (j + 0.5) / len(teacher):.2f}",
            y2=10,
        )
        for i, upper in enumerate(student)
        for j, lower in enumerate(teacher)
        if upper.chunk >= 0 and _touch(upper, lower)
    ]
    return element("svg", join(*lines), viewBox="0 0 100 10", preserveAspectRatio="none", aria_hidden="true")


def _touch(upper: Token, lower: Token) -> bool:
    """Whether they have bytes in common; a token without bytes goes with what begins where it stands."""
    if upper.start == upper.end or lower.start == lower.end:
        return upper.start == lower.start
    return upper.start < lower.end and lower.start < upper.end
