"""Two segmentations of a text as the page and the terminal show them: plain values, no tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stillroom.report.alignment_spans import SpanView
from stillroom.report.numbers import percent


class Part(NamedTuple):
    """The word or phrase that a token is part of."""

    number: int
    first: bool
    """Whether it is the first token of it on its side."""


@dataclass(frozen=True)
class Token:
    """A token of one side."""

    piece: bytes
    chunk: int
    """The chunk that it is part of; -1 where it has none."""
    start: int
    """Bytes of the text before it."""
    end: int
    word: Part | None = None
    phrase: Part | None = None


Pair = tuple[list[Token], list[Token]]


@dataclass(frozen=True)
class TwoCuts:
    """One text under both tokenizers."""

    student: Sequence[Token]
    teacher: Sequence[Token]
    labels: Sequence[str] | None = None
    """What the phrases are called, by number; None where nobody asked for phrases."""
    known: bool = True
    """Whether who cut the words and phrases knows the language."""

    def chunks(self) -> list[Pair]:
        """Tokens of both sides, chunk by chunk; what has no chunk comes last, as one."""
        found: dict[int, Pair] = {}
        for side in (0, 1):
            for token in (self.student, self.teacher)[side]:
                found.setdefault(token.chunk, ([], []))[side].append(token)
        rest = found.pop(-1, None)
        return [found[chunk] for chunk in sorted(found)] + ([rest] if rest else [])


def fall_alike(chunk: Pair) -> bool:
    """Whether the tokens of both sides are part of the same phrases, one after another."""
    student, teacher = (
        list(dict.fromkeys(token.phrase and token.phrase.number for token in side)) for side in chunk
    )
    return student == teacher


@dataclass(frozen=True)
class AlignmentView:
    """What `stillroom align` found."""

    student: str
    teacher: str
    counts: dict[str, int]
    ratios: dict[str, float | None]
    shared_tokens: int
    """Tokens that both vocabularies have, by their bytes."""
    texts: Sequence[TwoCuts]
    """The first ones."""
    spans: SpanView | None = None
    """Words and phrases, where they were asked for."""

    def sentence(self) -> str:
        """The result in a line."""
        equal, exact = self.ratios["context_equal_ratio"], self.ratios["exact_ratio"]
        if equal is None or exact is None:
            return "There is no token to compare."
        return (
            f"{percent(equal)} of the student's {self.counts['student_tokens']:,} tokens begin where the teacher, too, "
            f"has read the same bytes; {percent(exact)} are the teacher's token as well."
        )

    def rows(self) -> list[tuple[str, str]]:
        """Every ratio with what it is a share of."""
        named = {
            "context_equal_ratio": "same bytes before it, student's tokens",
            "exact_ratio": "same token, student's tokens",
            "eta_ratio": "same token by the published alignment of strings (ETA)",
            "teacher_context_equal_ratio": "same bytes before it, teacher's tokens",
            "teacher_exact_ratio": "same token, teacher's tokens",
        }
        shares = {key: self.ratios[key] for key in named}
        return [(named[key], "—" if share is None else percent(share)) for key, share in shares.items()]
