"""Two segmentations of a text and their links as one self-contained HTML page: student above, teacher below."""

from collections.abc import Sequence
from pathlib import Path

from stillroom.report.alignment_brackets import Brackets
from stillroom.report.alignment_spans import HEAD, SpanView
from stillroom.report.alignment_view import AlignmentView, Pair, Token, TwoCuts, fall_alike
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
    shown = [_text(text, view.spans) for text in view.texts]
    count = view.counts["texts"]
    more = f"The first {len(shown)} of {count:,} texts. " if len(shown) < count else ""
    style = element("style", Markup(Path(__file__).with_suffix(".css").read_text(encoding="utf-8")))
    main = element(
        "main",
        style,
        top,
        section("Shares", _shares(view)),
        *([section("Words and phrases", *_spans(view.spans))] if view.spans else []),
        section("Tokens", element("p", more, *_legend(view.spans), class_="legend"), *shown),
    )
    return document(f"{teacher} → {student}", main)


def _text(text: TwoCuts, spans: SpanView | None) -> Markup:
    """One text, chunk by chunk; above it what is to be known about its phrases."""
    chunks, numbers = _numbered(text)
    if spans is None:
        return element("div", *map(_chunk, chunks, numbers), class_="cuts")
    brackets = Brackets(text)
    drawn = (_chunk(chunk, number, brackets) for chunk, number in zip(chunks, numbers, strict=True))
    cuts = element("div", *drawn, class_="cuts")
    if text.known:
        return cuts
    return join(element("p", f"In a language that {spans.cut_by} does not know.", class_="aside"), cuts)


def _legend(spans: SpanView | None) -> Sequence[str]:
    signs = (
        "Student above, teacher below; a line joins tokens that have bytes in common. ",
        element("span", "Gray", class_="key"),
        " is one token on both sides, ",
        element("span", "colored", class_="key many c0"),
        " several tokens that only together are the same bytes; struck through is what has no counterpart. "
        "· is a space, ⏎ a newline, <E6> a byte that is part of a letter, ∅ a token without bytes.",
    )
    if spans is None:
        return signs
    return (
        *signs,
        " A ",
        element("span", element("b", "NP"), class_="key phrase"),
        " above is a phrase, with a tick before each of its words; dots are a word in no phrase. A second line below "
        "shows where the phrases fall on the teacher's tokens, if not on the same ones. Point at a piece to read all "
        "tokens of its phrase.",
    )


def _spans(spans: SpanView) -> Sequence[Markup]:
    head = element("thead", element("tr", *(element("th", name, scope="col") for name in HEAD)))
    body = (
        element("tr", element("th", row[0], scope="row"), *(element("td", value) for value in row[1:]))
        for row in spans.rows()
    )
    table = element("table", head, element("tbody", *body), class_="results units-table")
    return element("p", spans.sentence(), class_="legend"), element("div", table, class_="wide")


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


def _numbered(text: TwoCuts) -> tuple[Sequence[Pair], Sequence[int]]:
    """Chunks, and the number of every one among those that need a color."""
    chunks = text.chunks()
    numbers, many = [], 0
    for student, teacher in chunks:
        numbers.append(many)
        many += len(student) != 1 or len(teacher) != 1
    return chunks, numbers


def _chunk(chunk: Pair, number: int, brackets: Brackets | None = None) -> Markup:
    student, teacher = chunk
    if not student or not teacher or student[0].chunk < 0:
        kind = "none"
    elif len(student) == len(teacher) == 1:
        kind = "one"
    else:
        kind = f"many c{number % COLORS}"
    drawn = [_side(student), _links(student, teacher), _side(teacher)]
    if brackets is None:
        return element("span", *drawn, class_=f"chunk {kind}")
    over, under = brackets.over(student), [] if fall_alike(chunk) else [brackets.under(teacher)]
    return element("span", over, *drawn, *under, class_=f"chunk {kind}", title=brackets.said(chunk))


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
