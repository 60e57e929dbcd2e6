"""Pieces of text to token ids, many at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stillroom.data.templates import Piece

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenize(pieces: Sequence[Piece], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """Ids of every piece. In literal ones a spelt-out special token becomes the tokens of its letters."""
    ids: list[list[int]] = [[] for _ in pieces]
    for is_literal in (True, False):
        chosen = [
            number for number, piece in enumerate(pieces) if piece.is_literal is is_literal and piece.text
        ]
        if not chosen:
            continue
        encoded = tokenizer(
            [pieces[number].text for number in chosen],
            add_special_tokens=False,
            split_special_tokens=is_literal,
            return_attention_mask=False,
            verbose=False,  # long texts are cut later, and counted
        )
        for number, row in zip(chosen, encoded["input_ids"], strict=True):
            ids[number] = row
    return ids


def opening_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """What the tokenizer puts before a text (often a begin token). What it puts behind is not wanted: the end
    token belongs after the response."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    starts = (at for at in range(len(full)) if full[at : at + len(bare)] == bare)
    return full[: next(starts, 0)]


def special_tokens(tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Texts of all special tokens, longest first, so that none hides behind one it begins with."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted(added | set(tokenizer.all_special_tokens), key=lambda token: (-len(token), token))
