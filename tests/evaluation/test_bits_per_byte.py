"""Bits per byte: the unit in which two tokenizers are compared."""

import math

import pytest
from folders import space_tokenizer, tiny_tokenizer

from stillroom.alignment.byte_table import byte_table
from stillroom.evaluation.bits_per_byte import bits_per_byte, response_bytes

TEXT = "the house on the hill: caf\u00e9 \U0001f642"


@pytest.mark.parametrize("make", [tiny_tokenizer, space_tokenizer])
def test_any_tokenizer_counts_the_bytes_of_the_response(make):
    tokenizer = make()
    table = byte_table(tokenizer.backend_tokenizer.to_str())
    prompt, response = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("what", TEXT))
    ids = [*prompt, *response, tokenizer.eos_token_id]
    rows = [{"input_ids": ids, "response_mask": [False] * len(prompt) + [True] * (len(response) + 1)}] * 3
    assert response_bytes(rows, table) == 3 * len(TEXT.encode())
    assert bits_per_byte(math.log(2) * 6 * len(TEXT.encode()), rows, table) == pytest.approx(2.0)
    assert math.isnan(bits_per_byte(1.0, [], table))
