"""Where tokens end: by their bytes, by their letters, and in what a model wrote."""

import random

import numpy as np
import pytest

from stillroom.alignment.byte_ends import byte_positions, ends_from_bytes, ends_from_offsets, text_of_ids


def test_bytes_that_are_not_the_text_are_refused(reader) -> None:
    made = reader("byte_level")
    ids = made.read("things").ids
    assert ends_from_bytes(ids, b"things", made.table)[-1] == 6
    for other in (b"thingz", b"hings", b"things ", b"", b" things"):
        assert ends_from_bytes(ids, other, made.table) is None


def test_one_space_before_the_text_is_forgiven(reader) -> None:
    made = reader("byte_fallback")
    for text in ("the", "the house", "\n", "日", ""):
        read = made.read(text)
        assert "".join(read.tokens).startswith("▁") or not text
        assert read.ends[-1:].tolist() == ([len(text.encode())] if text else [])


def test_letters_that_nobody_covers() -> None:
    """A mark that was composed away belongs to the letter before it; a space to the word behind it."""
    assert ends_from_offsets([(0, 2), (2, 4)], "cafe\u0301").tolist() == [2, 6]
    assert ends_from_offsets([(0, 3), (4, 7)], "two one").tolist() == [3, 7]
    assert ends_from_offsets([(0, 4), (6, 9)], "cafe\u0301 one").tolist() == [6, 10]
    assert ends_from_offsets([(0, 3)], "one  ").tolist() == [3]


def test_letters_of_several_tokens_end_together() -> None:
    assert ends_from_offsets([(0, 2), (1, 2), (1, 2), (2, 3)], " 日x").tolist() == [4, 4, 4, 5]
    assert ends_from_offsets([(0, 1), (0, 2), (2, 3)], "日本x").tolist() == [
        6,
        6,
        7,
    ]  # half a letter, and another one


def test_offsets_that_run_backwards_are_refused() -> None:
    assert ends_from_offsets([(0, 2), (4, 6), (2, 4), (0, 1)], "abcdef") is None
    assert ends_from_offsets([], "").tolist() == []


def test_byte_positions() -> None:
    text = "aé日🙂\U0010fffd"
    assert byte_positions(text).tolist() == [len(text[:letters].encode()) for letters in range(6)]


@pytest.mark.parametrize("name", ["byte_level", "byte_fallback", "trimming", "gpt2", "llama2", "qwen1.5"])
def test_both_ways_agree_where_letters_are_whole(reader, name) -> None:
    """Offsets may know less (parts of a letter), never something else."""
    made = reader(name)
    text = "The stillroom:\n\n  twice 日本語, naïve 12345 and they're distilled."
    encoded = made._tokenizer.encode(text, add_special_tokens=False)
    by_bytes = ends_from_bytes(encoded.ids, text.encode(), made.table)
    by_letters = ends_from_offsets(encoded.offsets, text)
    assert set(by_letters.tolist()) <= set(by_bytes.tolist())
    assert by_letters[-1] == by_bytes[-1] == len(text.encode())
    words = np.isin(by_bytes, byte_positions(text))
    closes = np.append(by_letters[1:] != by_letters[:-1], True)
    if name != "trimming":  # where spaces are trimmed from the offsets, a lone space has no letter
        assert (by_letters[words & closes] == by_bytes[words & closes]).all()


def test_sampled_ids_that_stop_inside_a_letter(reader) -> None:
    table = reader("byte_level").table
    byte = {piece: index for index, piece in enumerate(table.pieces) if len(piece) == 1}
    ids = [byte[bytes([each])] for each in "a日".encode()[:3]]
    text, ends = text_of_ids(ids, table)
    assert (text, ends.tolist()) == ("a", [1, -1, -1])
    text, ends = text_of_ids([*ids, byte[b"b"]], table)  # no letter at all: the text ends before it
    assert (text, ends.tolist()) == ("a", [1, -1, -1, -1])
    assert text_of_ids([], table)[0] == ""


def test_sampled_ids_are_read_as_they_were_written(reader) -> None:
    """Random ids: the text up to a broken letter, and ends that spell it."""
    words = random.Random(3)
    for name in ("byte_level", "byte_fallback"):
        table = reader(name).table
        ordinary = [index for index in range(len(table)) if not table.special[index]]
        for _ in range(30):
            ids = words.choices(ordinary, k=12)
            text, ends = text_of_ids(ids, table)
            spelt = b"".join(table.pieces[index] for index in ids)
            assert spelt.removeprefix(b" " if table.dummy_prefix else b"").startswith(text.encode())
            known = ends[ends >= 0]
            assert (np.diff(known) >= 0).all()
            assert known.max(initial=0) <= len(text.encode())
