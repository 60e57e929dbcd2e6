"""The same samples under two tokenizers, token ends in bytes."""

import pytest
import torch
from folders import CHAT, TEXT, space_tokenizer, tiny_tokenizer

from stillroom.alignment.batch import align
from stillroom.alignment.byte_table import byte_table
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.data.collate import Collator
from stillroom.data.dataset import PairedDataset
from stillroom.data.encode import encode

ANSWER = "the house\n\ncaf\u00e9 \U0001f642 stills"


@pytest.fixture(scope="module")
def tokenizers():
    return tiny_tokenizer(chat_template=CHAT), space_tokenizer([*TEXT, ANSWER], chat_template=CHAT)


def paired(samples, tokenizers, template="plain", max_length=64, **settings):
    tables = [byte_table(each.backend_tokenizer.to_str()) for each in tokenizers]
    first, second = (
        encode(
            samples, tokenizer, template, max_length, tables=(tables[number], tables[1 - number]), **settings
        )
        for number, tokenizer in enumerate(tokenizers)
    )
    return PairedDataset(first, second)


def collated(data, **settings) -> Batch:
    return Batch.from_inputs(Collator(padding_id=1, **settings)([data[index] for index in range(len(data))]))


def read(side, tokenizer, row, position) -> str:
    """The response as far as it has been read after a position."""
    mask = side.response_mask[row, : position + 1].bool()
    return tokenizer.decode(side.input_ids[row, : position + 1][mask])


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("template", ["plain", "chat"])
def test_compared_positions_have_read_the_same_text(tokenizers, sample, template, padding_side):
    question = [("user", "what is it?")] if template == "chat" else "what is it? "
    data = paired([sample(question, ANSWER), sample(question, "spirits", 1)], tokenizers, template)
    batch = collated(data, padding_side=padding_side)
    pairs = align(batch).context
    assert len(pairs.rows) > 8
    for row, ours, theirs in zip(*(each.tolist() for each in pairs), strict=True):
        texts = read(batch.student, tokenizers[0], row, ours), read(batch.teacher, tokenizers[1], row, theirs)
        assert texts[0].replace("<end>", "") == texts[1].replace("</s>", "")
        assert batch.student.predicts[row, ours]
        assert batch.teacher.predicts[row, theirs]


def test_end_tokens_meet_and_a_cut_response_has_none(tokenizers, sample):
    whole = collated(paired([sample("a", "the house")], tokenizers))
    pairs = align(whole).exact
    last = whole.student.input_ids[0, pairs.student[-1]], whole.teacher.input_ids[0, pairs.teacher[-1]]
    assert [int(each) for each in last] == [each.eos_token_id for each in tokenizers]
    cut = collated(paired([sample("a", ANSWER)], tokenizers, max_length=8))
    assert cut.student.byte_ends.max() < 1 + len(ANSWER.encode())
    assert len(align(cut).context.rows) > 0


def test_a_long_prompt_loses_its_beginning_on_both_sides(tokenizers, sample):
    data = paired([sample("what is it? " * 30, "the house")], tokenizers, max_length=32)
    short = paired([sample("it? ", "the house")], tokenizers, max_length=32)
    ends = [each[0]["byte_ends"][each[0]["response_mask"]] for each in (data, short)]
    assert torch.equal(*ends)
    assert data.report["cut_prompts"] == data.report["teacher_cut_prompts"] == 1


@pytest.mark.parametrize("max_length", range(24, 34, 3))
def test_chunks_of_texts_whose_beginning_is_cut_hold_the_same_bytes(tokenizers, sample, max_length):
    """Every token is trained on, and each side loses its own beginning of the prompt."""
    texts = [sample("the houses and stills " * 9, "the house")]
    batch = collated(paired(texts, tokenizers, max_length=max_length, train_on="everything"))
    chunks = align(batch).chunks
    tables = [byte_table(each.backend_tokenizer.to_str()) for each in tokenizers]

    def spelt(side, ids, table, chunk) -> bytes:
        return b"".join(table.pieces[token] for token in side.input_ids[0][ids[0] == chunk].tolist())

    assert int(chunks.counts[0]) > 4
    for chunk in range(int(chunks.counts[0]) - 1):  # the last one is the end tokens
        ours = spelt(batch.student, chunks.student, tables[0], chunk)
        theirs = spelt(batch.teacher, chunks.teacher, tables[1], chunk)
        assert ours in (theirs, theirs.removeprefix(b" "))


def test_every_turn_of_an_assistant_is_a_text_of_its_own(tokenizers, sample):
    talk = [("user", "a"), ("assistant", "the still"), ("user", "c")]
    data = paired([sample(talk, "the house")], tokenizers, "chat", train_on="all_assistant")
    batch = collated(data)
    found = {
        (read(batch.student, tokenizers[0], 0, ours), read(batch.teacher, tokenizers[1], 0, theirs))
        for _, ours, theirs in zip(*(each.tolist() for each in align(batch).context), strict=True)
    }
    assert {first.replace("<end>", "").replace(" ", "") for first, _ in found} == {
        second.replace("</s>", "").replace(" ", "") for _, second in found
    }


def test_texts_are_composed_where_one_tokenizer_composes_them(tokenizers, sample):
    from tokenizers import normalizers

    composing = tiny_tokenizer()
    composing.backend_tokenizer.normalizer = normalizers.NFC()
    data = paired([sample("a", "cafe\u0301")], (composing, tokenizers[1]))
    assert data.report["dropped_unaligned"] == data.report["teacher_dropped_unaligned"] == 0
    assert int(data[0]["byte_ends"].max()) == 2 + len("caf\u00e9".encode())


def test_samples_that_one_side_lacks_are_in_neither(tokenizers, sample):
    tables = [byte_table(each.backend_tokenizer.to_str()) for each in tokenizers]
    rows = [sample("a", "the house", index) for index in range(3)]
    ours = encode(rows, tokenizers[0], "plain", 64, tables=tables)
    theirs = encode(rows[1:], tokenizers[1], "plain", 64, tables=tables[::-1])
    data = PairedDataset(ours, theirs)
    assert data.sample_ids == [1, 2]
    assert data.report["samples"] == 2
    assert data.report["teacher_dropped_no_response"] == 0
    assert data.lengths == [
        max(len(data[i]["input_ids"]), len(data[i]["teacher_input_ids"])) for i in range(2)
    ]
    with pytest.raises(BadInput, match="no sample can be read by both"):
        PairedDataset(ours.select([0]), theirs)


def test_a_response_that_one_template_rewrites_is_left_out(tokenizers, sample):
    shouting = space_tokenizer(TEXT, chat_template=CHAT.replace("m.content", "m.content | trim"))
    rows = [sample([("user", "a")], "the house"), sample([("user", "a")], " the still", 1)]
    data = paired(rows, (tokenizers[0], shouting), "chat")
    assert data.sample_ids == [0]
    assert data.report["dropped_rewritten"] == 1
    with pytest.raises(BadInput, match="write the responses of all of them differently"):
        paired(rows[1:], (tokenizers[0], shouting), "chat")


def test_letters_of_one_sides_special_tokens_are_text_to_both(tokenizers, sample):
    data = paired([sample([("user", "a")], "the </s> house <end> is")], tokenizers, "chat")
    batch = collated(data)
    pairs = align(batch).context
    ends = [side.byte_ends[0][side.response_mask[0]] for side in (batch.student, batch.teacher)]
    assert [int(each[-1]) for each in ends] == [2 + len("the </s> house <end> is")] * 2
    assert len(pairs.rows) > 4
