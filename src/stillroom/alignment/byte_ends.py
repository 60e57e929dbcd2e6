"""Where every token ends in a text, in bytes: of its ids where they spell the text, of its offsets where not.

Ends never decrease. Where several tokens have one end, only the last of them closes anything: the others have no bytes
of their own (a lone space that stands for no space) or are parts of a letter whose bytes are not known one by one.
"""

from collections.abc import Sequence

import numpy as np

from stillroom.core.byte_table import ByteTable

OUTSIDE = -1
"""The end of a token that is no part of an aligned text: padding, prompt, template."""


def ends_from_bytes(ids: Sequence[int], text: bytes, table: ByteTable) -> np.ndarray | None:
    """Byte ends `[n]` int64 of `ids [n]` in the UTF-8 `text`, or None where their bytes are not the text.

    One space that a tokenizer puts before any text is forgiven, and counted to nobody.
    """
    spelt = b"".join([table.pieces[token] for token in ids])
    surplus = len(spelt) - len(text)
    if surplus not in (0, 1) or not spelt.endswith(text) or not spelt.startswith(b" " * surplus):
        return None
    ends = table.lengths[np.asarray(ids, np.int64)].cumsum() - surplus
    return np.maximum(ends, 0)


def ends_from_offsets(offsets: Sequence[tuple[int, int]], text: str) -> np.ndarray | None:
    """Byte ends `[n]` int64 from the letters `(start, end)` of `text` that every token covers, or None where these
    run backwards.

    Tokens that overlap close together. Letters that no token covers belong to the token before them (a normalizer
    merged them into its last letter), but from white space on to the one after them, as leading spaces do.
    """
    if not offsets:
        return np.zeros(0, np.int64)
    starts, ends = np.asarray(offsets, np.int64).T.copy()
    if (np.diff(starts) < 0).any() or (np.diff(ends) < 0).any():
        return None
    following = np.append(starts[1:], len(text))
    for token in np.flatnonzero(following > ends):
        uncovered = text[ends[token] : following[token]]
        ends[token] += len(uncovered.split(maxsplit=1)[0]) if not uncovered[0].isspace() else 0
    closes = following >= ends
    closing = np.where(closes, np.arange(len(ends)), len(ends) - 1)
    return byte_positions(text)[ends[np.minimum.accumulate(closing[::-1])[::-1]]]


def byte_positions(text: str) -> np.ndarray:
    """The byte at which every letter begins, and the length of all: `[letters + 1]` int64."""
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    widths = 1 + (points > 0x7F).astype(np.int64) + (points > 0x7FF) + (points > 0xFFFF)
    return np.concatenate([np.zeros(1, np.int64), widths.cumsum()])


def text_of_ids(ids: Sequence[int], table: ByteTable) -> tuple[str, np.ndarray]:
    """The text that a model wrote as `ids [n]`, up to its last whole letter, and the ends `[n]` of the ids in it.

    What was sampled is rarely what the tokenizer would have written, and may stop inside a letter; ends beyond the
    text are `OUTSIDE`. Another tokenizer then reads the text, not the ids.
    """
    spelt = b"".join([table.pieces[token] for token in ids])
    surplus = int(table.dummy_prefix and spelt.startswith(b" "))
    try:
        text = spelt[surplus:].decode()
    except UnicodeDecodeError as error:
        text = spelt[surplus : surplus + error.start].decode()
    ends = np.maximum(table.lengths[np.asarray(ids, np.int64)].cumsum() - surplus, 0)
    return text, np.where(ends <= len(text.encode()), ends, OUTSIDE)
