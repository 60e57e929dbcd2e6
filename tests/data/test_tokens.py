from stillroom.data.templates import Piece
from stillroom.data.tokens import opening_ids, special_tokens, tokenize


def test_literal_pieces_spell_special_tokens(byte_tokenizer) -> None:
    tokenizer = byte_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    pieces = [
        Piece("a<|end|>", is_literal=False),
        Piece("a<|end|>", is_literal=True),
        Piece("", is_literal=True),
    ]
    meant, spelt, empty = tokenize(pieces, tokenizer)
    assert (len(meant), meant[-1]) == (2, end)
    assert len(spelt) == len("a<|end|>")
    assert end not in spelt
    assert tokenizer.decode(spelt) == "a<|end|>"
    assert empty == []
    assert tokenize(pieces[:1], tokenizer) == [meant]  # nothing of the earlier call stays behind


def test_opening_is_what_the_tokenizer_puts_before_a_text(byte_tokenizer) -> None:
    assert opening_ids(byte_tokenizer()) == []
    tokenizer = byte_tokenizer(begins=True)
    assert opening_ids(tokenizer) == [tokenizer.convert_tokens_to_ids("<|begin|>")]


def test_special_tokens_longest_first(byte_tokenizer) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<|end|>s"})
    assert special_tokens(tokenizer) == ["<|begin|>", "<|end|>s", "<|end|>", "<|pad|>"]
