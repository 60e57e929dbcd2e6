"""The phrases over one side's tokens as signs on a terminal: `NP──┴─── VP─ ┄┄┄┄`, column under column."""

from collections import Counter
from collections.abc import Sequence

from stillroom.report.alignment_view import Token
from stillroom.report.token_text import token_text

LINE, NEXT_WORD, LONE_WORD = "─", "┴", "┄"


class Strip:
    """Draws chunk by chunk: a phrase begins with its label, and goes on without one in the next row."""

    def __init__(self, tokens: Sequence[Token], labels: Sequence[str]) -> None:
        self._labels = labels
        self._sizes = Counter(token.phrase.number for token in tokens if token.phrase)
        self._unwritten = ""

    def least(self, tokens: Sequence[Token]) -> int:
        """Columns that these tokens should have, for the label of a phrase that is only one of them to be read."""
        lone = [token.phrase for token in tokens if token.phrase and self._sizes[token.phrase.number] == 1]
        return sum(1 + len(self._labels[phrase.number]) for phrase in lone) - 1

    def draw(self, tokens: Sequence[Token], width: int) -> str:
        """The signs for the tokens of one chunk, `width` columns wide, and for the column before it.

        The last token has what the chunk is wider than its tokens.
        """
        from rich.cells import cell_len

        drawn = ""
        for token in tokens:
            own = width - len(drawn) if token is tokens[-1] else cell_len(token_text(token.piece))
            drawn += self._before(token) + self._under(token, own)
        return drawn or " " * (1 + width)

    def _before(self, token: Token) -> str:
        if token.phrase and not token.phrase.first:
            written, self._unwritten = self._unwritten[:1], self._unwritten[1:]
            return written or (NEXT_WORD if token.word and token.word.first else LINE)
        return LONE_WORD if not token.phrase and token.word and not token.word.first else " "

    def _under(self, token: Token, width: int) -> str:
        if token.phrase is None:
            return (LONE_WORD if token.word else " ") * width
        if token.phrase.first:
            self._unwritten = self._labels[token.phrase.number]
        written, self._unwritten = self._unwritten[:width], self._unwritten[width:]
        return written.ljust(width, LINE)
