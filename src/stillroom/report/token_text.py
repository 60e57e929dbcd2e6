"""The bytes of a token as signs that can be seen: spaces, line ends, parts of a letter."""

import unicodedata
from itertools import pairwise

from stillroom.report.markup import clean

SIGNS = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"}
JOINER = "\u200d"


def token_text(piece: bytes) -> str:
    """What to show for `piece`: `·` for a space, `⏎` for a newline, `<E6>` for a byte that is part of a letter,
    `<U+200B>` for a letter that cannot be seen, `◌` below a mark that has no letter, `∅` for no bytes at all."""
    try:
        letters = piece.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" if byte >= 0x80 else token_text(bytes([byte])) for byte in piece)
    return "".join(_sign(letter, before) for before, letter in pairwise(" " + letters)) or "∅"


def _sign(letter: str, before: str) -> str:
    if letter in SIGNS:
        return SIGNS[letter]
    if unicodedata.category(letter).startswith("M"):
        return letter if _carries(before) else "◌" + letter
    if letter == JOINER and not _carries(before):
        return "<U+200D>"
    shown = clean(letter)
    return shown if shown == letter and not letter.isspace() else f"<U+{ord(letter):04X}>"


def _carries(letter: str) -> bool:
    """Whether a mark behind it stands on it."""
    return letter == JOINER or (letter.isprintable() and letter not in SIGNS)
