"""`stillroom align`: what it prints, what it writes, and what it refuses, from tokenizers in folders."""

import json
from pathlib import Path

import pytest
from folders import jsonl, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["the stillroom is where", "things are\n\ndistilled: naïve 日本語", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """`bytes` and `words`: two tokenizers; `rows.jsonl`: three texts in the field `output`."""
    root = tmp_path_factory.mktemp("align")
    tiny_tokenizer().save_pretrained(root / "bytes")
    metaspace().save_pretrained(root / "words")
    jsonl(root / "rows.jsonl", [{"output": text, "id": number} for number, text in enumerate(TEXTS)])
    (root / "text.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    return root


def metaspace() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=90, special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([*TEXTS, *TEXTS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")


@pytest.fixture
def aligned(typed, folders, tmp_path, monkeypatch):
    """Type the command with both tokenizers, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *words: typed(
        "align", "--student", folders / "bytes", "--teacher", folders / "words", *words
    )


def test_a_text(aligned, tmp_path) -> None:
    done = aligned("the stillroom")
    assert done.code == 0, done.err
    assert done.out.splitlines()[0].startswith("student |")
    assert done.out.splitlines()[1].startswith("teacher |")
    assert "of the student's" in done.out
    page = (tmp_path / "alignment.html").read_text()
    assert "words → bytes" in page
    assert page.count("<svg") == page.count('class="chunk')


def test_numbers(aligned, folders, tmp_path) -> None:
    done = aligned(folders / "rows.jsonl", "--field", "output", "--json")
    found = json.loads(done.out)
    assert (found["student"], found["teacher"], found["texts"]) == ("bytes", "words", 3)
    assert found["bytes"] == sum(len(text.encode()) for text in TEXTS)
    for key in ("exact_ratio", "context_equal_ratio", "eta_ratio"):
        assert 0 < found[key] < 1
    assert found["exact_ratio"] < found["context_equal_ratio"]
    assert found["context_equal_ratio"] == found["student_context_equal"] / found["student_tokens"]
    assert list(tmp_path.iterdir()) == []  # numbers were asked for, no page


def test_a_page_beside_numbers(aligned, tmp_path) -> None:
    assert aligned("the stillroom", "--json", "--output", "here/page.html").code == 0
    assert (tmp_path / "here" / "page.html").exists()


def test_a_text_file_is_one_text(aligned, folders) -> None:
    found = json.loads(aligned(folders / "text.txt", "--json").out)
    assert (found["texts"], found["bytes"]) == (1, (folders / "text.txt").stat().st_size)


def test_a_tokenizer_and_itself(typed, folders) -> None:
    words = ("--student", folders / "bytes", "--teacher", folders / "bytes", "so it is", "--json")
    found = json.loads(typed("align", *words).out)
    assert {found[key] for key in ("exact_ratio", "context_equal_ratio", "eta_ratio")} == {1.0}


def test_an_empty_text(aligned) -> None:
    found = json.loads(aligned("", "--json").out)
    assert (found["texts"], found["exact_ratio"], found["eta_ratio"]) == (1, None, None)
    assert "no token to compare" in aligned("").out


def test_words_and_phrases(aligned, folders, tmp_path) -> None:
    found = json.loads(aligned("the stillroom is, where", "--spans", "windows", "--json").out)["spans"]
    assert (found["cut_by"].split()[0], found["texts"], found["unknown"]) == ("windows", 1, 0)
    assert (found["words"]["units"], found["phrases"]["units"]) == (4, 2)
    assert found["phrases"]["byte_share"] == 21 / 23  # all but the comma and the space behind it
    assert found["labels"].keys() == {""}
    done = aligned(folders / "rows.jsonl", "--field", "output", "--spans", "windows")
    assert "\nphrases |" in done.out
    assert "Words and phrases by windows" in done.out
    assert "units over" in (tmp_path / "alignment.html").read_text()


def test_a_language_that_the_segmenter_does_not_know(aligned) -> None:
    pytest.importorskip("textblob")
    done = aligned("naïve 日本語", "--spans", "textblob")
    assert "does not know the language of the text" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("words", "expect"),
    [
        (["ROWS"], "expected --field with the name of the field to read; the record has 'output', 'id'"),
        (["ROWS", "--field", "text"], "expected text in the field 'text'; the record has 'output', 'id'"),
        (["ROWS", "--field", "id"], "expected text in the field 'id'"),
        (["nothing.jsonl"], "nothing.jsonl does not exist"),
        (["nothing.txt", "--field", "output"], "nothing.txt does not exist"),
        (["nothing.txt"], "nothing.txt does not exist"),
        (["bad.txt"], "bad.txt cannot be read as UTF-8"),
        (["a", "--teacher", "."], "teacher: no tokenizer could be loaded from the folder ."),
        (
            ["a", "--spans", "spacy"],
            "--spans spacy: expected textblob, windows, or the name or folder of a spaCy",
        ),
        (["a", "--spans", "given"], "--spans given: expected textblob, windows, or the name or folder of a"),
        (["a", "--spans", "textblb"], "--spans textblb, neither textblob nor windows, is for spaCy: "),
        (["lone \udc80 half"], "no valid Unicode at letter 5"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(aligned, folders, tmp_path, words, expect) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    done = aligned(*(folders / "rows.jsonl" if word == "ROWS" else word for word in words))
    assert done.code == 2
    assert expect in done.err
    assert done.err.count("\n") == 1
