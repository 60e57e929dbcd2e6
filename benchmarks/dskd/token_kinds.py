"""What kind of text a token stands for: the word that it is a part of, by letters, capitals and how rare it is."""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

NUMBER, NAME, BEYOND_ASCII, RARE, COMMON, SIGN, SPACE, END = KINDS = (
    "number",
    "name",
    "beyond ASCII",
    "rare word",
    "common word",
    "punctuation",
    "white space",
    "no bytes (end token)",
)
WORD = re.compile(r"\d+|[^\W\d_]+|\s+|.", re.DOTALL)
SELDOM = 3
"""A word that the texts have at most so often is rare."""


def count_words(texts: Iterable[str]) -> Counter[str]:
    """How often every word stands in the texts, capitals or not."""
    return Counter(word.lower() for text in texts for word in WORD.findall(text))


def kinds_of_bytes(text: bytes, counts: Counter[str]) -> np.ndarray:
    """`[bytes]` indices of `KINDS`. Half letters, where a text was cut, are beyond ASCII."""
    read = text.decode(errors="surrogateescape")
    numbers: list[int] = []
    for found in WORD.finditer(read):
        word = found[0]
        kind = KINDS.index(_kind(word, read[: found.start()], counts))
        numbers += [kind] * len(word.encode(errors="surrogateescape"))
    return np.array(numbers, np.int64)


def _kind(word: str, before: str, counts: Counter[str]) -> str:
    if word.isspace():
        return SPACE
    if not word.isascii():
        return BEYOND_ASCII
    if word.isdecimal():
        return NUMBER
    if not word.isalpha():
        return SIGN
    if word[0].isupper() and not _begins_sentence(before):
        return NAME
    return RARE if counts[word.lower()] <= SELDOM else COMMON


def _begins_sentence(before: str) -> bool:
    """Whether a word behind this text is written with a capital anyway."""
    return re.search(r"(?:^|[.!?:\n\u2022])[^\w.!?:\n]*$", before) is not None


def kinds_of_tokens(kinds: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """`[n]` indices of `KINDS` for tokens that end at `ends [n]` (the first begins at 0): the kind of the first byte
    that is no space; the end token where there is no byte."""
    space, found = KINDS.index(SPACE), []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        inside = kinds[start:end]
        words = inside[inside != space]
        found.append(words[0] if len(words) else space if len(inside) else KINDS.index(END))
    return np.array(found, np.int64)
