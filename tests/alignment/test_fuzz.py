"""Texts from all planes of Unicode, through every kind of tokenizer: chunks equal those of two pointers and the same
bytes on both sides."""

import random
import unicodedata
from itertools import permutations

import numpy as np
import pytest
from reference.alignment import two_pointers

from stillroom.alignment.compare import align_text

PLAIN = "the stillroom, 12345\n\n\t  They're distilled: naïve café"
SMALL = ("byte_level", "byte_fallback", "unigram", "word_piece", "trimming")
REAL = ("gpt2", "llama2", "mistral-7b-v0.1", "qwen1.5")
LOSSLESS = {"byte_level", "byte_fallback", "trimming", *REAL}


def letters(words: random.Random) -> str:
    """Text of all planes: assigned or not, with combining marks, joiners, and words that a tokenizer knows."""
    parts = []
    for _ in range(words.randint(0, 12)):
        kind = words.randrange(5)
        if kind == 0:
            parts.append(PLAIN[words.randrange(len(PLAIN)) :][: words.randint(1, 12)])
        elif kind == 1:
            parts.append(
                words.choice(("\u0301", "\u200d", "\ufe0f", "▁", "\r\n", " ", "  ", "\x00", "<s>", "##s"))
            )
        else:
            plane = words.randrange(17) if kind == 2 else 0
            point = plane * 0x10000 + words.randrange(0x10000)
            parts.append(chr(point) if not 0xD800 <= point < 0xE000 else "\ufffd")
    return "".join(parts)


def pairs(names: tuple[str, ...]):
    return [pytest.param(*pair, id=" ".join(pair)) for pair in permutations(names, 2)]


@pytest.mark.parametrize(("student", "teacher"), pairs(SMALL) + pairs(REAL))
def test_all_planes(reader, student, teacher) -> None:
    words = random.Random(f"{student} {teacher}")
    known = 0
    for _ in range(60):
        aligned = align_text(letters(words), reader(student), reader(teacher))
        if aligned.counts.dropped:
            assert not {student, teacher} <= LOSSLESS
            continue
        known += 1
        ours, theirs = aligned.student.ends, aligned.teacher.ends
        _, student_chunks, teacher_chunks = two_pointers(ours.tolist(), theirs.tolist())
        assert aligned.student_chunks.tolist() == student_chunks
        assert aligned.teacher_chunks.tolist() == teacher_chunks
        if {student, teacher} <= LOSSLESS:
            check_bytes(aligned)
    assert known > 50


def check_bytes(aligned) -> None:
    """Tokens of a chunk end where it ends, and nothing of the text is left over."""
    size = len(aligned.text.encode())
    for reading, chunks in (
        (aligned.student, aligned.student_chunks),
        (aligned.teacher, aligned.teacher_chunks),
    ):
        assert (chunks >= 0).all()
        assert (np.diff(reading.ends) >= 0).all()
        assert reading.ends[-1:].tolist() in ([], [size])


@pytest.mark.parametrize("name", sorted(LOSSLESS))
def test_a_tokenizer_and_itself(reader, name) -> None:
    """Every token is a chunk of its own, but parts of a letter whose bytes are not known are one together."""
    words = random.Random(name)
    for _ in range(30):
        text = letters(words).replace("▁", "")
        aligned = align_text(text, reader(name), reader(name))
        assert aligned.student_chunks.tolist() == aligned.teacher_chunks.tolist()
        if unicodedata.is_normalized("NFC", text):
            assert aligned.counts.exact == len(set(aligned.student.ends.tolist()))
