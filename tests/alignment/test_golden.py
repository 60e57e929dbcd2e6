"""Sixteen cases in which real tokenizers differ in what they make of a text, and what must be made of that."""

import unicodedata

import numpy as np
import pytest
import torch

from stillroom.alignment.boundaries import shared_boundaries
from stillroom.alignment.byte_ends import ends_from_bytes, ends_from_offsets, text_of_ids
from stillroom.alignment.chunks import shared_chunks
from stillroom.alignment.compare import align_text
from stillroom.alignment.positions import context_equal
from stillroom.alignment.rows import Stretch, row_ends
from stillroom.alignment.vocabulary_map import vocabulary_map
from stillroom.core.batch import Batch
from stillroom.data.collate import Collator

GPT2, LLAMA, MISTRAL, QWEN = "gpt2", "llama2", "mistral-7b-v0.1", "qwen1.5"


def chunk_sizes(aligned) -> list[tuple[int, int]]:
    """How many tokens of student and teacher every chunk holds."""
    return [
        (int((aligned.student_chunks == chunk).sum()), int((aligned.teacher_chunks == chunk).sum()))
        for chunk in range(aligned.counts.chunks)
    ]


def chunk_bytes(ends: np.ndarray, chunks: np.ndarray, text: bytes) -> list[bytes]:
    """The bytes of every chunk, from one side's ends."""
    last = [int(ends[chunks == chunk].max()) for chunk in range(chunks.max() + 1)]
    return [text[start:end] for start, end in zip([0, *last[:-1]], last, strict=True)]


def check(aligned) -> None:
    """What must hold for any text: chunks count up, and are the same bytes on both sides."""
    text = aligned.text.encode()
    assert aligned.counts.dropped == 0
    assert aligned.student.ends[-1] == aligned.teacher.ends[-1] == len(text)
    assert (np.diff(aligned.student_chunks) >= 0).all()
    assert (aligned.student_chunks >= 0).all()
    assert chunk_bytes(aligned.student.ends, aligned.student_chunks, text) == chunk_bytes(
        aligned.teacher.ends, aligned.teacher_chunks, text
    )


def test_1_letters_of_several_tokens(reader) -> None:
    ours, theirs = reader(GPT2).read(" 日本語"), reader(LLAMA).read(" 日本語")
    assert ours.tokens[:3] == ["Ġæ", "Ĺ", "¥"]
    assert ours.ends[:3].tolist() == [2, 3, 4]  # by bytes 2 + 1 + 1, though all three claim the same letter
    offsets = [(0, 2), (1, 2), (1, 2), (2, 3), (2, 3), (3, 4), (3, 4)]
    by_offsets = ends_from_offsets(offsets, " 日本語")
    assert by_offsets.tolist() == [4, 4, 4, 7, 7, 10, 10]
    shared = shared_boundaries(by_offsets[None], theirs.ends[None])
    assert shared.student[0].tolist() == [False, False, True, False, True, False, True]


def test_2_an_emoji_of_five_pieces(reader) -> None:
    assert reader(LLAMA).read("🙂").tokens == ["▁", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>"]
    aligned = align_text(" 🙂", reader(LLAMA), reader(GPT2))
    assert aligned.teacher.tokens == ["ĠðŁĻĤ"]
    bytes_of_student = len(aligned.student.tokens)
    assert chunk_sizes(aligned) == [(bytes_of_student, 1)]
    check(align_text("🙂", reader(LLAMA), reader(MISTRAL)))
    check(align_text("🙂", reader(MISTRAL), reader(GPT2)))


def test_3_composed_letters(reader) -> None:
    text = "cafe\u0301"
    aligned = align_text(text, reader(GPT2), reader(QWEN))
    assert aligned.text == "café" != text
    check(aligned)
    check(align_text(text, reader(LLAMA), reader(QWEN)))
    # without composing it first, the bytes of the ids are another text; the offsets leave a letter uncovered
    read = reader(QWEN).read(text)
    assert ends_from_bytes(read.ids, text.encode(), reader(QWEN).table) is None
    assert read.ends[-1] == len(text.encode())
    assert align_text(text, reader(GPT2), reader(LLAMA)).text == text  # nobody composes, so nothing is


def test_4_white_space(reader) -> None:
    text = "a  b\n\n  c\td"
    aligned = align_text(text, reader(LLAMA), reader(GPT2))
    check(aligned)
    assert aligned.teacher.ends.tolist() == [1, 2, 4, 6, 7, 9, 10, 11]
    assert aligned.student.tokens[3:5] == ["<0x0A>", "<0x0A>"]
    assert chunk_sizes(aligned) == [(1, 1), (1, 1), (1, 1), (2, 1), (1, 1), (1, 1), (1, 1), (1, 1)]


def test_5_the_space_that_is_not_in_the_text(reader) -> None:
    aligned = align_text("Hello", reader(LLAMA), reader(GPT2))
    assert aligned.student.tokens == ["▁Hello"]
    assert aligned.student.ends.tolist() == [5]
    assert aligned.counts.exact == 1


def test_6_a_piece_without_bytes(reader) -> None:
    aligned = align_text(" leading", reader(LLAMA), reader(GPT2))
    assert aligned.student.tokens == ["▁", "▁leading"]
    assert aligned.student.ends.tolist() == [0, 8]
    assert chunk_sizes(aligned) == [(2, 1)]
    same = align_text(" leading", reader(LLAMA), reader(LLAMA))
    assert chunk_sizes(same) == [(1, 1), (1, 1)]


def test_7_digits(reader) -> None:
    aligned = align_text(" 12345", reader(QWEN), reader(GPT2))
    assert aligned.teacher.tokens == ["Ġ123", "45"]
    assert chunk_sizes(aligned) == [(4, 1), (2, 1)]
    check(align_text("12345", reader(LLAMA), reader(GPT2)))


@pytest.mark.parametrize(
    "text", ["▁", "a ▁ b", "<s>", "x<s> y", "<0x0A>", "end<|endoftext|>", "▁<s>x</s><0x0A>"]
)
def test_8_letters_of_special_tokens(reader, text) -> None:
    """They are letters; U+2581, which SentencePiece takes for a space, is found by its offsets."""
    for student in (LLAMA, MISTRAL, QWEN):
        check(align_text(text, reader(student), reader(GPT2)))
    assert ends_from_bytes(reader(LLAMA).read("a▁b").ids, "a▁b".encode(), reader(LLAMA).table) is None
    special = reader(GPT2).read("<|endoftext|>")
    assert len(special.ids) > 1


@pytest.mark.parametrize("text", ["a\u00a0b", "a\u200bb", "\ufeffa", "ﬁn", "a\r\nb", "👨‍👩‍👧‍👦!"])
def test_9_letters_that_survive(reader, text) -> None:
    for name in (GPT2, LLAMA, MISTRAL, QWEN):
        read = reader(name).read(text)
        assert ends_from_bytes(read.ids, text.encode(), reader(name).table).tolist() == read.ends.tolist()
    check(align_text(text, reader(QWEN), reader(LLAMA)))


def test_10_an_empty_response(reader) -> None:
    aligned = align_text("", reader(LLAMA), reader(GPT2))
    assert aligned.counts.chunks == aligned.counts.exact == len(aligned.student_chunks) == 0
    nothing = np.zeros(0, np.int64)
    student = row_ends([Stretch(3, nothing, 0, closed=True)])
    teacher = row_ends([Stretch(5, nothing, 0, closed=True)])
    shared = shared_boundaries(student[None], teacher[None])
    chunks = shared_chunks(shared, text_mask(student, 3), text_mask(teacher, 5))
    assert chunks.student.tolist() == [[-1, -1, -1, 0]]  # end token and end token
    assert chunks.teacher.tolist() == [[-1, -1, -1, -1, -1, 0]]


def text_mask(ends: np.ndarray, prompt: int) -> np.ndarray:
    return (np.arange(len(ends)) >= prompt)[None]


def test_11_one_side_is_cut(reader) -> None:
    text = "The stillroom is where things are distilled."
    ours, theirs = reader(GPT2).read(text), reader(LLAMA).read(text)
    student = row_ends([Stretch(2, ours.ends[:4], len(text))])
    teacher = row_ends([Stretch(1, theirs.ends, len(text), closed=True)])
    shared = shared_boundaries(student[None], teacher[None])
    chunks = shared_chunks(shared, text_mask(student, 2), text_mask(teacher, 1))
    assert chunks.student.max() >= 2
    assert chunks.student.max() == chunks.teacher.max()
    assert (chunks.teacher[0, -5:] == -1).all()


def test_12_chat_templates(reader) -> None:
    """Headers and end tokens have other names and other lengths; the response is what is compared."""
    answer = "Spirits, and scents."
    batch = both_sides(
        reader, answer, ("<|im_start|>assistant\n", "<|im_end|>"), ("[INST] What? [/INST]", "</s>")
    )
    student, teacher = batch.student, batch.teacher
    shared = shared_boundaries(student.byte_ends, teacher.byte_ends)
    chunks = shared_chunks(shared, student.response_mask, teacher.response_mask)
    last = student.response_mask.sum(), teacher.response_mask.sum()
    assert last[0] > 3
    assert (
        chunks.student[0, -1] == chunks.teacher[0, -1] == chunks.counts[0] - 1
    )  # the end tokens are one chunk
    pairs = context_equal(shared, student.predicts, teacher.predicts)
    first = (student.predicts[0].nonzero()[0, 0], teacher.predicts[0].nonzero()[0, 0])
    assert (pairs.student[0], pairs.teacher[0]) == first  # before the first token both have read the prompt


def both_sides(reader, answer: str, student: tuple[str, str], teacher: tuple[str, str]) -> Batch:
    item = {"sample_ids": 0}
    for prefix, name, (header, _) in (("", QWEN, student), ("teacher_", LLAMA, teacher)):
        prompt, response = reader(name).read(header), reader(name).read(answer)
        end_token = 2
        item |= {
            prefix + "input_ids": [*prompt.ids, *response.ids, end_token],
            prefix + "response_mask": [False] * len(prompt.ids) + [True] * (len(response.ids) + 1),
            prefix + "byte_ends": row_ends(
                [Stretch(len(prompt.ids), response.ends, len(answer), closed=True)]
            ),
        }
    return Batch.from_inputs(Collator(0)([item]))


def test_13_a_token_that_the_other_vocabulary_lacks(reader) -> None:
    from tokenizers import AddedToken, Tokenizer

    from stillroom.alignment.reader import Reader

    tokenizer = Tokenizer.from_str(reader(QWEN).definition)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    text = "<think>So it is.</think>\nYes."
    aligned = align_text(text, Reader(tokenizer.to_str()), reader(LLAMA))
    check(aligned)
    assert aligned.student.tokens[0] == "<think>"
    assert chunk_sizes(aligned)[0] == (1, int((aligned.teacher_chunks == 0).sum()))


def test_14_ids_that_a_model_sampled(reader) -> None:
    """Another cut than the tokenizer's own, and an end inside of a letter."""
    table = reader(GPT2).table
    by_bytes = {piece: index for index, piece in enumerate(table.pieces)}
    sampled = [by_bytes[piece] for piece in (b"dist", b"ill", b"ed", b" ", "é".encode()[:1])]
    text, ends = text_of_ids(sampled, table)
    assert text == "distilled "
    assert ends.tolist() == [4, 7, 9, 10, -1]
    teacher = reader(LLAMA).read(text)
    shared = shared_boundaries(ends[None], teacher.ends[None])
    assert shared.student[0].tolist()[2:] == [True, True, False]
    llama = reader(LLAMA).table
    sampled = reader(LLAMA).read("distilled").ids
    assert text_of_ids(sampled, llama)[0] == "distilled"  # the space before any text is none


def test_15_rows_of_a_head_beyond_its_tokenizer(reader) -> None:
    found = vocabulary_map(reader(QWEN).table, reader(GPT2).table)
    assert len(reader(QWEN).table) == 151646 < 151936
    assert found.student.max() < len(reader(QWEN).table)


def test_16_padding_with_the_end_token(reader) -> None:
    """Ends come from lengths: the end token of a response has one, the same id as padding has none."""
    end = 50256
    rows = [
        {
            "input_ids": [5, *[7] * length, end],
            "response_mask": [False] + [True] * (length + 1),
            "sample_ids": 0,
            "byte_ends": row_ends([Stretch(1, np.arange(1, length + 1), length, closed=True)]),
        }
        for length in (2, 4)
    ]
    for side in ("left", "right"):
        ends = Batch.from_inputs(Collator(end, side)(rows)).student.byte_ends
        assert ends.tolist() == [
            [-1, -1, 0, 2, 3, 4] if side == "left" else [0, 2, 3, 4, -1, -1],
            [0, 2, 3, 4, 5, 6],
        ]
        assert ends.dtype == torch.int64


def test_composing_is_the_only_form_that_is_forced_on_others(reader) -> None:
    text = "ﬁn A\u030a"
    aligned = align_text(text, reader("unigram"), reader("byte_level"))
    assert aligned.text == text  # NFKC loses letters: it stays what that tokenizer does for itself
    assert aligned.text != unicodedata.normalize("NFKC", text)
