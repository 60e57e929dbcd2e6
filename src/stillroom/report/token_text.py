"""The bytes of a token as signs that can be seen: spaces, line ends, parts of a letter."""

import unicodedata

from stillroom.report.markup import clean

SIGNS = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"}


def token_text(piece: bytes) -> str:
    """What to show for `piece`: `·` for a space, `⏎` for a newline, `<E6>` for a byte that is part of a letter,
    `<U+200B>` for a letter that cannot be seen, `∅` for no bytes at all."""
    try:
        letters = piece.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" if byte >= 0x80 else token_text(bytes([byte])) for byte in piece)
    return "".join(map(_sign, letters)) or "∅"


def _sign(letter: str) -> str:
    if letter in SIGNS:
        return SIGNS[letter]
    if unicodedata.combining(letter):
        return "◌" + letter
    shown = clean(letter)
    return shown if shown == letter and not letter.isspace() else f"<U+{ord(letter):04X}>"
