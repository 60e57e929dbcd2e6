"""The bytes of every kind of vocabulary."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers

from stillroom.alignment.byte_table import byte_table
from stillroom.core.errors import BadInput


def piece(table, tokenizer: Tokenizer, token: str) -> bytes:
    return table.pieces[tokenizer.token_to_id(token)]


def parts(reader, name: str):
    made = reader(name)
    return made.table, Tokenizer.from_str(made.definition)


def test_byte_level(reader) -> None:
    table, tokenizer = parts(reader, "byte_level")
    assert {table.pieces[index] for index in range(1, 257)} == {bytes([byte]) for byte in range(256)}
    assert piece(table, tokenizer, "Ċ") == b"\n"
    assert piece(table, tokenizer, "<end>") == b"<end>"
    assert table.special.tolist() == [True] + [False] * (len(table) - 1)
    assert (table.dummy_prefix, table.form, table.fallback.any()) == (False, None, np.False_)


def test_sentence_piece_with_byte_fallback(reader) -> None:
    table, tokenizer = parts(reader, "byte_fallback")
    assert piece(table, tokenizer, "<0x0A>") == b"\n"
    assert piece(table, tokenizer, "▁a") == b" a"
    assert table.fallback.sum() == 256
    assert table.dummy_prefix


def test_unigram(reader) -> None:
    table, tokenizer = parts(reader, "unigram")
    assert piece(table, tokenizer, "▁") == b" "
    assert (table.form, table.dummy_prefix, table.fallback.any()) == ("NFKC", True, np.False_)


def test_without_byte_fallback_its_spelling_is_letters() -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"<0x0A>": 0, "a": 1}, merges=[]))
    assert byte_table(tokenizer.to_str()).pieces == (b"<0x0A>", b"a")


def test_word_piece(reader) -> None:
    table, tokenizer = parts(reader, "word_piece")
    assert piece(table, tokenizer, "##s") == b"s"
    assert piece(table, tokenizer, "s") == b" s"
    assert piece(table, tokenizer, "[UNK]") == b"[UNK]"


def test_holes_are_empty_and_words_beyond_the_alphabet_are_letters() -> None:
    tokenizer = Tokenizer.from_str(
        json.dumps(
            json.loads(Tokenizer(models.BPE(vocab={"Ġa": 0, "语 词": 4, "\u00ad": 5}, merges=[])).to_str())
            | {
                "decoder": {
                    "type": "ByteLevel",
                    "add_prefix_space": True,
                    "trim_offsets": True,
                    "use_regex": True,
                }
            }
        )
    )
    table = byte_table(tokenizer.to_str())
    assert table.pieces == (b" a", b"", b"", b"", "语 词".encode(), "\u00ad".encode())
    assert table.lengths.tolist() == [2, 0, 0, 0, 7, 2]


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_forms(form) -> None:
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), getattr(normalizers, form)()])
    assert byte_table(tokenizer.to_str()).form == form


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(BadInput, match="got none"):
        byte_table(Tokenizer(models.BPE()).to_str())


@pytest.mark.parametrize("name", ["gpt2", "llama2", "mistral-7b-v0.1", "qwen1.5"])
def test_real_tables_spell_what_their_tokenizers_decode(reader, name) -> None:
    """Every single token that decodes without loss, against the decoder of its tokenizer."""
    table, tokenizer = parts(reader, name)
    wrong = []
    for index in range(0, len(table), 7):
        if table.special[index] or table.fallback[index]:
            continue
        text = tokenizer.decode(
            [index, index], skip_special_tokens=False
        )  # a space before the first one is dropped
        twice = table.pieces[index] * 2
        if "\ufffd" not in text and twice.decode().removeprefix(" " if table.dummy_prefix else "") != text:
            wrong.append((index, text, table.pieces[index]))
    assert wrong == []
