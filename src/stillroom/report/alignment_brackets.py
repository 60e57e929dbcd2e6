"""The phrases over the tokens of a page: brackets from chunk to chunk, and what a chunk says if pointed at."""

from collections import defaultdict
from collections.abc import Sequence

from stillroom.report.alignment_view import Pair, Part, Token, TwoCuts
from stillroom.report.markup import Markup, element
from stillroom.report.token_text import token_text

NO_LABEL = "phrase"
SHOWN = 40
"""Tokens of one unit that are named."""


class Brackets:
    """Draws them for the chunks of one text."""

    def __init__(self, text: TwoCuts) -> None:
        self._labels = text.labels or ()
        self._phrases = _members(text, "phrase")
        self._words = _members(text, "word")

    def over(self, student: Sequence[Token]) -> Markup:
        """Above the student's tokens: one cell for each, as wide as it is."""
        return self._cells(student, 0)

    def under(self, teacher: Sequence[Token]) -> Markup:
        """Below the teacher's tokens."""
        return self._cells(teacher, 1)

    def _cells(self, tokens: Sequence[Token], side: int) -> Markup:
        place = ("over", "under")[side]
        return element("span", *(self._cell(token, side) for token in tokens), class_=f"units {place}")

    def _cell(self, token: Token, side: int) -> Markup:
        begins = " begins" if token.word and token.word.first else ""
        if token.phrase is None:
            return element("span", class_=f"word{begins}" if token.word else None)
        if not token.phrase.first:
            return element("span", class_=f"phrase{begins}")
        alone = " alone" if len(self._phrases[token.phrase.number][side]) == 1 else ""
        return element("span", element("b", self._labels[token.phrase.number]), class_=f"phrase first{alone}")

    def said(self, chunk: Pair) -> str | None:
        """The phrases, or else the words, that the tokens of a chunk are part of, with their tokens on both sides."""
        tokens = [*chunk[0], *chunk[1]]
        phrases = dict.fromkeys(token.phrase.number for token in tokens if token.phrase)
        words = dict.fromkeys(token.word.number for token in tokens if token.word and not token.phrase)
        said = [
            *(_said(self._labels[number] or NO_LABEL, self._phrases[number]) for number in phrases),
            *(_said("word", self._words[number]) for number in words),
        ]
        return "\n".join(said) or None


Members = tuple[list[str], list[str]]
"""The tokens of a unit on both sides, as they are shown."""


def _members(text: TwoCuts, kind: str) -> dict[int, Members]:
    found: dict[int, Members] = defaultdict(lambda: ([], []))
    for side, tokens in enumerate((text.student, text.teacher)):
        for token in tokens:
            part: Part | None = token.phrase if kind == "phrase" else token.word
            if part:
                found[part.number][side].append(token_text(token.piece))
    return found


def _said(name: str, members: Members) -> str:
    lines = (
        f"{side} {len(tokens):,}: {' | '.join(tokens[:SHOWN]) or 'none'}{' …' if len(tokens) > SHOWN else ''}"
        for side, tokens in zip(("student", "teacher"), members, strict=True)
    )
    return "\n".join((name, *lines))
