"""What `stillroom.data.encode` must give for the Alpaca template, one sample at a time, in plain lists."""

from typing import Any


def encode_one(prompt: str, response: str, tokenizer: Any, max_length: int) -> tuple[list[int], list[bool]]:
    """Ids and mask of one prompt and response; the tokenizer adds nothing by itself."""
    before = tokenizer(prompt)["input_ids"]
    while len(before) > max_length // 2:
        before.pop(0)
    after = tokenizer(response)["input_ids"]
    after.append(tokenizer.eos_token_id)
    while len(before) + len(after) > max_length:
        after.pop()
    ids, mask = [], []
    for token in before:
        ids.append(token)
        mask.append(False)
    for token in after:
        ids.append(token)
        mask.append(True)
    return ids, mask
