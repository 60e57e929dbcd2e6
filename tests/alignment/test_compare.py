"""Counts of texts, the published alignment beside them, and what real tokenizers share on real responses."""

import json
import random
from dataclasses import replace

import pytest
from reference.alignment import published

from stillroom.alignment.compare import Counts, align_text, count_texts
from stillroom.alignment.published import published_pairs
from stillroom.alignment.reader import Reader, Reading


@pytest.mark.parametrize("seed", range(30))
def test_the_published_alignment_is_its_own_loop(seed) -> None:
    words = random.Random(seed)
    text = "".join(words.choices("ab▁Ġ", k=60))
    student, teacher = (pieces(text, random.Random(f"{seed}{side}")) for side in "st")
    if seed % 3 == 0:  # spellings that differ
        teacher[words.randrange(len(teacher))] += "c"
    assert published_pairs(student, teacher) == published(student, teacher)


def pieces(text: str, words: random.Random) -> list[str]:
    found = []
    while text:
        size = words.randint(1, 4)
        found.append(text[:size])
        text = text[size:]
    return found


def test_counts_add_up(reader) -> None:
    student, teacher = reader("byte_level"), reader("byte_fallback")
    texts = ["the stillroom", "", "日本語 and\n\nso on"]
    counted = count_texts(texts, student, teacher)
    assert counted.texts == 3
    assert counted.bytes == sum(len(text.encode()) for text in texts)
    assert counted == sum((align_text(text, student, teacher).counts for text in reversed(texts)), Counts())


def test_the_same_tokenizer_shares_everything(reader) -> None:
    counted = count_texts(["the stillroom", "two, and three"], reader("byte_level"), reader("byte_level"))
    assert set(counted.ratios().values()) == {1.0}
    assert counted.chunks == counted.student_tokens


def test_nothing_has_no_ratio(reader) -> None:
    assert set(Counts().ratios().values()) == {None}
    assert count_texts([""], reader("byte_level"), reader("byte_level")).ratios()["exact_ratio"] is None


def test_a_newline_ends_the_published_alignment_and_not_ours(reader) -> None:
    student, teacher = reader("byte_level"), reader("byte_fallback")
    before, after = "so it is", "\n" + "so it is. " * 9
    alone, both = (count_texts([text], student, teacher) for text in (before, before + after))
    assert both.published <= alone.published + 1
    assert both.student_context_equal > 5 * alone.student_context_equal


@pytest.mark.parametrize(
    ("teacher", "student", "context", "exact", "by_strings"),
    [
        ("qwen1.5", "gpt2", 0.959, 0.903, 0.903),
        ("llama2", "gpt2", 0.983, 0.847, 0.458),
        ("mistral-7b-v0.1", "llama2", 0.945, 0.889, 0.889),
        ("qwen1.5", "llama2", 0.868, 0.754, 0.410),
        ("llama2", "mistral-7b-v0.1", 0.979, 0.921, 0.921),
        ("mistral-7b-v0.1", "gpt2", 0.987, 0.885, 0.479),
    ],
)
def test_real_responses(reader, data, teacher, student, context, exact, by_strings) -> None:
    files = [data / "dolly" / name for name in ("minillm_test500.jsonl", "minillm_dev.jsonl")]
    if not all(file.exists() for file in files):
        pytest.skip("needs the real data (STILLROOM_DATA)")
    texts = [output(json.loads(line)) for file in files for line in file.read_text().splitlines()][::6]
    found = count_texts(texts, reader(student), reader(teacher))
    ratios = found.ratios()
    assert found.dropped == 0
    assert ratios["context_equal_ratio"] == pytest.approx(context, abs=0.01)
    assert ratios["exact_ratio"] == pytest.approx(exact, abs=0.02)
    assert ratios["eta_ratio"] == pytest.approx(by_strings, abs=0.08)


def output(row: dict) -> str:
    return row["output"] if isinstance(row["output"], str) else row["output"][0]


def test_a_text_that_a_tokenizer_rewrites_is_dropped_and_counted(reader) -> None:
    class Rewriting(Reader):
        def read(self, text: str) -> Reading:
            return replace(super().read(text), ends=None)

    aligned = align_text("so it is", reader("byte_level"), Rewriting(reader("byte_fallback").definition))
    assert aligned.counts == Counts(texts=1, dropped=1)
    assert set(aligned.student_chunks.tolist()) == {-1}
