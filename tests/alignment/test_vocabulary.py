"""Equal vocabularies are found equal whatever their sizes; unequal ones are refused with differences."""

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from stillroom.alignment.vocabulary import Encode, compare_vocabularies, vocabulary_identity
from stillroom.core.errors import BadInput

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[2] / "../shared/data")) / "tokenizers"
LETTERS = {letter: index for index, letter in enumerate("<abcdefgh")}
VOCAB = {**LETTERS, "ab": 9, "cd": 10, "abcd": 11}
MERGES = [("a", "b"), ("c", "d"), ("ab", "cd")]


def bpe(vocab: Mapping[str, int] = VOCAB, merges: list = MERGES) -> Tokenizer:
    return Tokenizer(models.BPE(vocab=dict(vocab), merges=merges, unk_token="<"))


def encoder(tokenizer: Tokenizer) -> Encode:
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def compare(student: Tokenizer, teacher: Tokenizer, student_rows: int, teacher_rows: int):
    return compare_vocabularies(
        student.get_vocab(),
        teacher.get_vocab(),
        student_rows,
        teacher_rows,
        encoder(student),
        encoder(teacher),
    )


def test_padded_heads_share_what_the_tokenizer_defines() -> None:
    match = compare(bpe(), bpe(), 16, 64)
    assert (match.shared, match.student_extra_rows, match.teacher_extra_rows, match.holes) == (12, 4, 52, 0)
    assert match.identity == vocabulary_identity(VOCAB) != vocabulary_identity(LETTERS)


def test_equal_sizes_with_other_ids_are_refused_with_five_differences() -> None:
    shuffled = {token: (index + 6) % 12 for token, index in VOCAB.items()}
    with pytest.raises(
        BadInput, match=r"12 tokens differ .*'<' is 0 for the student and 6 for the teacher"
    ) as caught:
        compare(bpe(), bpe(shuffled), 12, 12)
    assert str(caught.value).count("for the student and") == 5


def test_other_merges_are_refused_with_the_first_probe() -> None:
    with pytest.raises(BadInput, match=r"cut text alike, but 'abcdefghijkl.*\[11, .*\[9, 10, "):
        compare(bpe(), bpe(merges=MERGES[:2]), 12, 12)


def test_another_normalizer_is_refused() -> None:
    lower = bpe()
    lower.normalizer = normalizers.Lowercase()
    with pytest.raises(BadInput, match="merges or normalizers"):
        compare(bpe(), lower, 12, 12)


def test_another_pre_tokenizer_is_refused() -> None:
    digits = bpe()
    digits.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(BadInput, match="cut text alike"):
        compare(bpe(), digits, 12, 12)


def test_a_tokenizer_larger_than_its_model_is_refused() -> None:
    with pytest.raises(BadInput, match=r"student.*'abcd' has id 11 and the model has 11 rows"):
        compare(bpe(), bpe(), 11, 12)
    with pytest.raises(BadInput, match=r"teacher.*'abcd' has id 11 and the model has 10 rows"):
        compare(bpe(), bpe(), 12, 10)


def test_holes_stay_and_are_counted() -> None:
    vocab = {**VOCAB, "</s>": 15}
    match = compare(bpe(vocab), bpe(vocab), 16, 20)
    assert (match.shared, match.holes) == (16, 3)


def test_a_hole_that_one_side_fills_is_refused() -> None:
    vocab = {**VOCAB, "</s>": 15}
    with pytest.raises(BadInput, match=r"'x' is 13 for the teacher and unknown for the student"):
        compare(bpe(vocab), bpe({**vocab, "x": 13}), 16, 16)


def test_the_teacher_may_know_more_tokens_but_not_the_student() -> None:
    larger = bpe()
    larger.add_special_tokens(["<think>"])
    match = compare(bpe(), larger, 16, 16)
    assert (match.shared, match.teacher_extra_rows) == (12, 4)
    with pytest.raises(BadInput, match=r"'<think>' is 12 for the student and unknown for the teacher"):
        compare(larger, bpe(), 16, 16)


def test_an_empty_vocabulary_is_refused() -> None:
    with pytest.raises(BadInput, match="got none"):
        compare_vocabularies({}, {"a": 0}, 4, 4, list, list)


@cache
def real(name: str) -> Tokenizer:
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"{folder} is absent: set STILLROOM_DATA")
    if (folder / "tokenizer.json").exists():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


@pytest.mark.parametrize(("name", "size"), [("gpt2", 50257), ("llama2", 32000), ("mistral-7b-v0.1", 32000)])
def test_real_tokenizers_equal_themselves(name: str, size: int) -> None:
    match = compare(real(name), real(name), size, size + 64)
    assert (match.shared, match.holes, match.teacher_extra_rows) == (size, 0, 64)


def test_real_heads_of_one_family_with_other_widths() -> None:
    tokenizer = real("qwen1.5")
    match = compare(tokenizer, tokenizer, 151936, 152064)
    assert (match.shared, match.student_extra_rows, match.teacher_extra_rows) == (151643, 293, 421)


def test_real_vocabularies_of_one_size_are_told_apart() -> None:
    with pytest.raises(BadInput, match=r"tokens differ \(of 32000 and 32000\)"):
        compare(real("llama2"), real("mistral-7b-v0.1"), 32000, 32000)


def test_a_real_tokenizer_with_another_normalizer() -> None:
    other = Tokenizer.from_str(real("gpt2").to_str())
    other.normalizer = normalizers.NFKC()
    with pytest.raises(BadInput, match="normalizers differ"):
        compare(real("gpt2"), other, 50257, 50257)
