"""Words and phrases of encoded rows: of what is said, the same under two tokenizers, whole or not at all."""

import re

import numpy as np
import pytest
import torch
from folders import CHAT, TEXT, space_tokenizer, tiny_tokenizer

from stillroom.alignment.byte_ends import ends_from_bytes
from stillroom.alignment.byte_table import byte_table
from stillroom.core.batch import Batch
from stillroom.data.collate import Collator
from stillroom.data.dataset import PairedDataset
from stillroom.data.encode import encode
from stillroom.data.spans.segmentation import Spans

ANSWER = "the house, caf\u00e9 and stills \U0001f642 spirits"


def segment(pairs):
    """Words between spaces; every two of them are a phrase. Texts with an emoji are in an unknown language."""
    found = []
    for _, text in pairs:
        data = text.encode()
        words = [each.span() for each in re.finditer(rb"\w[^\s,]*", data)]
        phrases = [(one[0], two[1]) for one, two in zip(words[::2], words[1::2], strict=len(words) % 2 == 0)]
        spans = [np.array(each, np.int64).reshape(-1, 2) for each in (words, phrases)]
        found.append(Spans(*spans, ("",) * len(phrases), known="\U0001f642" not in text))
    return found


@pytest.fixture(scope="module")
def tokenizers():
    return tiny_tokenizer(chat_template=CHAT), space_tokenizer([*TEXT, ANSWER], chat_template=CHAT)


def encoded(samples, tokenizer, *others, template="plain", max_length=64, **settings):
    tables = [byte_table(each.backend_tokenizer.to_str()) for each in (tokenizer, *others)]
    return encode(samples, tokenizer, template, max_length, tables=tables, segment=segment, **settings)


def said(item, tokenizer, kind):
    """The text of every span, by its number."""
    return {
        int(number): tokenizer.decode(item["input_ids"][item[kind] == number]).strip()
        for number in item[kind].unique()
        if number >= 0
    }


def test_tokens_know_their_word_and_phrase(tokenizers, sample):
    item = encoded([sample("what is it? ", ANSWER)], tokenizers[0])[0]
    words = ["the", "house", "caf\u00e9", "and", "stills", "spirits"]
    assert said(item, tokenizers[0], "words") == dict(enumerate(words))
    assert said(item, tokenizers[0], "phrases") == {
        0: "the house",
        1: "caf\u00e9 and",
        2: "stills \U0001f642 spirits",
    }
    assert (item["words"][~item["response_mask"]] == -1).all()
    assert "byte_ends" not in item


def test_both_sides_give_a_span_one_number(tokenizers, sample):
    samples = [sample("q ", ANSWER), sample("q ", "the house", 1), sample("q ", "!", 2)]
    sides = [encoded(samples, *order) for order in (tokenizers, tokenizers[::-1])]
    data = PairedDataset(*sides)
    batch = Batch.from_inputs(Collator(padding_id=1)([data[index] for index in range(3)]))
    words = ANSWER.replace(",", "").replace("\U0001f642 ", "").split()
    for side, tokenizer in ((batch.student, tokenizers[0]), (batch.teacher, tokenizers[1])):
        assert side.words is not None
        for number in side.words[0][side.words[0] >= 0].unique().tolist():
            last = side.input_ids[0][side.words[0] == number][-1]  # a token of the teacher may hold two words
            assert tokenizer.decode([int(last)]).split()[-1].strip("\ufffd") in words[number]
        assert len(side.words[0].unique()) > 4
    one = batch.rows(torch.tensor([1]))
    assert torch.equal(one.student.words, batch.student.words[1:2])
    assert (batch.student.words[2] == -1).all()
    assert data.report["without_spans"] == 1
    assert data.report["unknown_language"] == 1
    assert data.report["words"] == 8


@pytest.mark.parametrize("max_length", range(6, 40, 3))
def test_what_truncation_cut_is_no_span(tokenizers, sample, max_length):
    for tokenizer in tokenizers:
        item = encoded([sample("q", ANSWER)], tokenizer, max_length=max_length)[0]
        whole = encoded([sample("q", ANSWER)], tokenizer, max_length=200)[0]
        for kind in ("words", "phrases"):
            ours, all_of_them = said(item, tokenizer, kind), said(whole, tokenizer, kind)
            assert ours.items() <= all_of_them.items()
            kept = len(item["input_ids"])
            gone = set(whole[kind][kept:].tolist())  # spans that have a token behind the cut
            assert ours.keys() == all_of_them.keys() - gone


def test_turns_are_numbered_on_and_prompts_have_no_spans(tokenizers, sample):
    talk = [("user", "what is it?"), ("assistant", "the house"), ("user", "and?")]
    item = encoded([sample(talk, "and stills")], tokenizers[0], template="chat", train_on="all_assistant")[0]
    assert said(item, tokenizers[0], "words") == {0: "the", 1: "house", 2: "and", 3: "stills"}
    last = encoded([sample(talk, "and stills")], tokenizers[0], template="chat")[0]
    assert said(last, tokenizers[0], "words") == {0: "and", 1: "stills"}


def test_special_tokens_that_a_person_spelled_part_no_text(tokenizers, sample):
    """Each tokenizer sees others; phrases would be numbered differently."""
    answer = "the house a<end>b, caf\u00e9 and </s>stills <unk> spirits"
    asked, sides = [], []

    def note(pairs):
        asked.append([text for _, text in pairs])
        return segment(pairs)

    for order in (tokenizers, tokenizers[::-1]):
        tables = [byte_table(each.backend_tokenizer.to_str()) for each in order]
        samples = [sample([("user", "q")], answer)]
        sides.append(encode(samples, order[0], "chat", 200, tables=tables, segment=note))
    assert asked == [[answer]] * 2
    data = PairedDataset(*sides)
    assert data.report["special_in_text"] == 1
    assert data[0]["phrases"].max() == data[0]["teacher_phrases"].max() == 3
    assert said(data[0], tokenizers[0], "words")[2] == "a<end>b"


def test_a_cut_prompt_that_is_trained_on_keeps_its_whole_words(tokenizers, sample):
    samples = [sample("the houses and stills " * 9, "the house")]
    item = encoded(samples, tokenizers[0], max_length=24, train_on="everything")[0]
    assert set(said(item, tokenizers[0], "words").values()) <= {"the", "houses", "and", "stills", "house"}
    assert len(said(item, tokenizers[0], "words")) > 2


def test_a_sample_without_byte_ends_is_trained_on_without_spans(tokenizers, sample, monkeypatch):
    def find(ids, text, table):
        return None if b"stills" in text else ends_from_bytes(ids, text, table)

    monkeypatch.setattr("stillroom.data.encode.ends_from_bytes", find)
    monkeypatch.setattr("stillroom.data.encode.ends_from_offsets", lambda offsets, text: None)
    samples = [sample("q", "the stills"), sample("q", "the house", 1)]
    data = encoded(samples, tokenizers[0])
    assert len(data) == 2
    assert (data[0]["words"] == -1).all()
    assert data.report["without_spans"] == 1


def test_padding_has_no_span(tokenizers, sample):
    data = encoded([sample("q ", ANSWER), sample("q ", "the", 1)], tokenizers[0])
    for side in ("left", "right"):
        batch = Batch.from_inputs(Collator(padding_id=1, padding_side=side)([data[0], data[1]]))
        assert batch.student.phrases is not None
        assert (batch.student.words[batch.student.attention_mask == 0] == -1).all()
        assert (batch.student.words[1] >= 0).sum() == (data[1]["words"] >= 0).sum()
