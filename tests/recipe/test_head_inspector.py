"""Texts for the maps of merged heads."""

import pytest
import torch
from folders import tiny_tokenizer

from stillroom.core.errors import BadInput
from stillroom.recipe.head_inspector import _without_padding, as_item, words


def test_a_sentence_is_a_sample_without_a_template():
    tokenizer = tiny_tokenizer()
    item = as_item("what is the name", tokenizer, 512)
    assert tokenizer.decode(item["input_ids"]) == "what is the name"
    assert item["response_mask"] == [False, *[True] * (len(item["input_ids"]) - 1)]
    assert len(as_item("what is the name", tokenizer, 3)["input_ids"]) == 3
    assert len(as_item("<end><pad>", tokenizer, 512)["input_ids"]) > 2  # the letters, not the tokens
    with pytest.raises(BadInput, match="--sentence: expected a text of at least 2 tokens, got ''"):
        as_item("", tokenizer, 512)


def test_every_token_can_be_seen():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("\n and", add_special_tokens=False)["input_ids"]
    shown = words(ids, tokenizer)
    assert shown[0] == "\u23ce"
    assert all(shown)
    assert words(tokenizer(" ", add_special_tokens=False)["input_ids"], tokenizer) == ["\u2423"]


@pytest.mark.parametrize("mask", [[1, 1, 0], [0, 1, 1]])
def test_padding_on_either_side_is_cut(mask):
    inputs = {
        "input_ids": torch.tensor([[5, 6, 7]]),
        "attention_mask": torch.tensor([mask]),
        "sample_ids": torch.tensor([3]),
    }
    cut = _without_padding(inputs)
    assert cut["input_ids"].tolist() == [[id_ for id_, real in zip([5, 6, 7], mask, strict=True) if real]]
    assert cut["attention_mask"].tolist() == [[1, 1]]
    assert cut["sample_ids"].tolist() == [3]
