"""What every token of a vocabulary is in bytes, read from the definition of its tokenizer (`tokenizer.json`).

    byte-level BPE          every letter of a piece is one byte in GPT-2's alphabet of 256 letters
    SentencePiece           BPE or Unigram: U+2581 is a space; with byte fallback `<0x0A>` is one byte
    WordPiece               a piece that begins a word has the space before it, `##ing` has none
    anything else           the letters of the piece

Added tokens, special ones included, are their own letters. Only bytes compare across vocabularies: one newline is
`Ċ` to the first kind and `<0x0A>` to the second.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput

FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def byte_table(definition: str) -> ByteTable:
    """From the JSON text of a tokenizer: `tokenizer.json`, or `to_str()` of a tokenizer of the `tokenizers` library.

    `BadInput` where it holds no vocabulary.
    """
    parsed = json.loads(definition)
    model, added = parsed["model"], parsed.get("added_tokens", [])
    vocab = _vocabulary(model)
    if not vocab and not added:
        raise BadInput("Expected a tokenizer with a vocabulary, got none: check its files.")
    size = 1 + max([*vocab.values(), *(token["id"] for token in added)])
    spell = _spelling(parsed)
    pieces = [b""] * size
    special, fallback = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    falls_back = bool(model.get("byte_fallback"))
    for piece, index in vocab.items():
        byte = FALLBACK.fullmatch(piece) if falls_back else None
        pieces[index] = bytes([int(byte[1], 16)]) if byte else spell(piece)
        fallback[index] = byte is not None
    for token in added:
        pieces[token["id"]] = token["content"].encode()
        special[token["id"]] = token["special"]
    return ByteTable(tuple(pieces), special, fallback, _puts_space(parsed), _normal_form(parsed))


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        return vocab
    return {piece: index for index, (piece, _) in enumerate(vocab)}  # Unigram: pieces with scores, in order


def _spelling(definition: dict[str, Any]) -> Callable[[str], bytes]:
    """How a piece of this tokenizer becomes bytes."""
    parts = list(_parts(definition, "pre_tokenizer", "decoder"))
    if any(part["type"] == "ByteLevel" for part in parts):
        return _from_alphabet
    if definition["model"].get("type") == "WordPiece":
        return _words(definition["model"]["continuing_subword_prefix"])
    spaces = [space for part in parts if (space := _space_letter(part))]
    return lambda piece: (piece.replace(spaces[0], " ") if spaces else piece).encode()


def _space_letter(part: dict[str, Any]) -> str | None:
    """The letter that this part of a tokenizer writes for a space."""
    if part["type"] == "Metaspace":
        return part["replacement"]
    is_space = part["type"] == "Replace" and part["content"] == " "
    return part["pattern"].get("String") if is_space else None


def _words(prefix: str) -> Callable[[str], bytes]:
    def spell(piece: str) -> bytes:
        return piece.removeprefix(prefix).encode() if piece.startswith(prefix) else b" " + piece.encode()

    return spell


def _alphabet() -> dict[int, int]:
    """GPT-2's letters to bytes: printable bytes of Latin-1 are themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: byte for byte in printable} | {256 + at: byte for at, byte in enumerate(others)}
    return letters | dict.fromkeys(others, NO_BYTE)  # control characters are no letters of the alphabet


NO_BYTE = 0xFFFD
ALPHABET = _alphabet()


def _from_alphabet(piece: str) -> bytes:
    try:
        return piece.translate(ALPHABET).encode("latin-1")
    except UnicodeEncodeError:
        return piece.encode()  # no piece of merged bytes, but a word that somebody added


def _puts_space(definition: dict[str, Any]) -> bool:
    """Whether any part writes a space before the text: as a prefix, or as a part of the first word."""
    for part in _parts(definition, "normalizer", "pre_tokenizer"):
        scheme = part.get("prepend_scheme", "always" if part.get("add_prefix_space") else "never")
        if part["type"] == "Prepend" or (part["type"] in ("Metaspace", "ByteLevel") and scheme != "never"):
            return True
    return False


def _normal_form(definition: dict[str, Any]) -> str | None:
    return next((part["type"] for part in _parts(definition, "normalizer") if part["type"] in FORMS), None)


def _parts(definition: dict[str, Any], *steps: str) -> Iterator[dict[str, Any]]:
    """All parts of some steps; a sequence is several parts."""
    for step in steps:
        part = definition.get(step)
        if part is None:
            continue
        inner = ("normalizers", "pretokenizers", "decoders")
        yield from next((part[name] for name in inner if name in part), [part])
