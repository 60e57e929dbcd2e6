"""What two models say about every token of a response, by how far their tokenizers agree on it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dskd.token_classes import CLASSES, EXACT, classes_in
from dskd.token_kinds import KINDS, kinds_of_bytes, kinds_of_tokens
from dskd.two_models import Answer
from stillroom.alignment.batch import align
from stillroom.core.batch import Side
from stillroom.core.signals import FinalHidden, Head, Signals
from stillroom.objectives._two_vocabularies import SharedTokens

Row = dict[str, float | int | str | None]
ALONE, SEVERAL = "one token on each side", "several tokens on a side"


@dataclass(frozen=True)
class Tokens:
    """Trained tokens of one side, `[n]` each."""

    classes: np.ndarray
    """Indices of `CLASSES`."""
    kinds: np.ndarray
    """Indices of `KINDS`."""
    nats: np.ndarray
    """-log of the probability that its model gives it."""
    bytes: np.ndarray
    chunks: np.ndarray
    """The finest piece of text that both sides cut out, numbered alike on both; -1 behind the last of a response."""

    @classmethod
    def joined(cls, parts: Sequence["Tokens"]) -> "Tokens":
        return cls(*(np.concatenate([getattr(each, field.name) for each in parts]) for field in fields(cls)))


@torch.no_grad()
def read_all(
    answers: Iterable[Answer], shared: SharedTokens, responses: Sequence[str], counts: Counter[str]
) -> tuple[Tokens, Tokens]:
    """The student's tokens and the teacher's; kinds by how often words are in `counts`."""
    ours: list[Tokens] = []
    theirs: list[Tokens] = []
    used = 0
    for student, teacher, batch in answers:
        classes, chunks = classes_in(batch, shared), align(batch).chunks
        texts = [responses[index].encode() for index in batch.sample_ids.tolist()]
        before = used + chunks.counts.cumsum(0) - chunks.counts
        used += int(chunks.counts.sum())
        sides = (
            (ours, student, batch.student, classes[0], chunks.student),
            (theirs, teacher, batch.teacher, classes[1], chunks.teacher),
        )
        for found, signals, side, its_classes, its_chunks in sides:
            told = its_classes >= 0
            numbers = torch.where(its_chunks >= 0, its_chunks + before[:, None], -1)
            kinds, sizes = _described(side, told, texts, counts)
            losses = nats(signals, side)[told[:, 1:]].numpy()
            found.append(Tokens(its_classes[told].numpy(), kinds, losses, sizes, numbers[told].numpy()))
    return Tokens.joined(ours), Tokens.joined(theirs)


def nats(signals: Signals, side: Side) -> Tensor:
    """-log of the probability of every token but the first of every row, `[B,S-1]`."""
    logits = signals[Head()](signals[FinalHidden()][:, :-1])
    return functional.cross_entropy(logits.mT, side.input_ids[:, 1:], reduction="none")


def _described(
    side: Side, told: Tensor, texts: Sequence[bytes], counts: Counter[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Kinds and bytes of the tokens of every response."""
    assert side.byte_ends is not None
    kinds, sizes = [], []
    for text, ends, mask in zip(texts, side.byte_ends, told, strict=True):
        inside = (ends[mask].numpy() - 1).clip(0, len(text))  # they count from one, see alignment.rows
        kinds.append(kinds_of_tokens(kinds_of_bytes(text, counts), inside))
        sizes.append(np.diff(inside, prepend=0))
    return np.concatenate(kinds), np.concatenate(sizes)


def by_class(tokens: Tokens, side: str) -> list[Row]:
    rows: list[Row] = []
    for index, name in enumerate(CLASSES):
        some = tokens.classes == index
        rows.append(
            {
                "": f"{side}, {name}",
                "of the tokens": float(some.mean()),
                "of the bytes": float(tokens.bytes[some].sum() / tokens.bytes.sum()),
                "nats a token": float(tokens.nats[some].mean()) if some.any() else None,
                "nats a byte": ratio(tokens.nats[some].sum(), tokens.bytes[some].sum()),
            }
        )
    return rows


@dataclass(frozen=True)
class Chunks:
    """Pieces of text with what both models say of them, `[n]` each."""

    alone: np.ndarray
    """Whether each side has one token for it, bool."""
    kinds: np.ndarray
    """Of the student's first token."""
    bytes: np.ndarray
    tokens: np.ndarray
    """The student's."""
    student: np.ndarray
    """Nats."""
    teacher: np.ndarray

    @classmethod
    def of(cls, ours: Tokens, theirs: Tokens) -> "Chunks":
        count = 1 + int(ours.chunks.max())
        kept, others = ours.chunks >= 0, theirs.chunks >= 0
        numbers = ours.chunks[kept]
        alone = np.zeros(count, bool)
        alone[numbers] = ours.classes[kept] == CLASSES.index(EXACT)
        kinds = np.zeros(count, np.int64)
        kinds[numbers[::-1]] = ours.kinds[kept][::-1]  # the first of several is written last
        sums = [np.bincount(numbers, each[kept], count) for each in (ours.bytes, kept, ours.nats)]
        return cls(alone, kinds, *sums, np.bincount(theirs.chunks[others], theirs.nats[others], count))

    def row(self, name: str, some: np.ndarray) -> Row:
        lead = self.student - self.teacher
        return {
            "": name,
            "of the student's tokens": float(self.tokens[some].sum() / self.tokens.sum()),
            "of the bytes": float(self.bytes[some].sum() / self.bytes.sum()),
            "student, nats a byte": ratio(self.student[some].sum(), self.bytes[some].sum()),
            "teacher, nats a byte": ratio(self.teacher[some].sum(), self.bytes[some].sum()),
            "of the lead": float(lead[some].sum() / lead.sum()),
        }


def by_chunk(chunks: Chunks) -> list[Row]:
    """The text as a whole, then by how each side cuts it, then what is cut differently by its kind."""
    rows = [
        chunks.row("all", np.ones_like(chunks.alone)),
        chunks.row(ALONE, chunks.alone),
        chunks.row(SEVERAL, ~chunks.alone),
    ]
    for index, kind in enumerate(KINDS):
        some = (chunks.kinds == index) & ~chunks.alone
        if some.any():
            rows.append(chunks.row(f"{SEVERAL}, {kind}", some))
    return rows


def by_kind(classes: np.ndarray, kinds: np.ndarray) -> list[Row]:
    """Which kinds of tokens are in which class, and which kinds the unaligned ones are."""
    unaligned = classes != CLASSES.index(EXACT)
    rows: list[Row] = []
    for index, kind in enumerate(KINDS):
        some = kinds == index
        if some.any():
            shares = {name: float((classes[some] == number).mean()) for number, name in enumerate(CLASSES)}
            filled = float((some & unaligned).sum() / max(unaligned.sum(), 1))
            rows.append(
                {"": kind, "of the tokens": float(some.mean())}
                | shares
                | {"of all that is not exact": filled}
            )
    return rows


def ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
