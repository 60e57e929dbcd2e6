"""Samples to the token ids of an exam: prompts cut as a protocol says, and the responses that follow them.

Under `clean` these are the ids of training (`data.encode`, `data.prompts`); `minillm` cuts at the other end.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stillroom.core.errors import BadInput
from stillroom.data.columns import Sample
from stillroom.data.dataset import EncodedDataset
from stillroom.data.encode import keep_end
from stillroom.data.prompts import PromptItem
from stillroom.data.templates import make_template
from stillroom.data.tokens import opening_ids, tokenize
from stillroom.evaluation.protocol import Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def exam_prompts(
    samples: Sequence[Sample], tokenizer: "PreTrainedTokenizerBase", protocol: Protocol
) -> tuple[list[PromptItem], int]:
    """The prompt of every sample, and how many of them were cut."""
    template = make_template(protocol.template, tokenizer)
    opens = protocol.adds_opening and not template.writes_opening
    opening = opening_ids(tokenizer) if opens else []
    rendered = [template.render(sample) for sample in samples]
    tokens = iter(tokenize([piece for text in rendered for piece in text.prompt], tokenizer))
    limit, items, cut = protocol.max_prompt_length, [], 0
    for sample, text in zip(samples, rendered, strict=True):
        ids = [token for _ in text.prompt for token in next(tokens)]
        kept = keep_end(opening, ids, limit) if protocol.keeps == "last" else (opening + ids)[:limit]
        cut += len(kept) < len(opening) + len(ids)
        items.append(PromptItem(sample.index, kept, text.prompt_text, sample.references))
    return items, cut


def exam_responses(
    samples: Sequence[Sample],
    prompts: Sequence[PromptItem],
    tokenizer: "PreTrainedTokenizerBase",
    protocol: Protocol,
    *,
    ends: bool = True,
) -> EncodedDataset | None:
    """The response of every sample after its prompt, as a data set to be scored.

    `ends`: the end token after a response is scored, too, where the protocol scores it. Empty responses are left out;
    None where no other is there. `BadInput` where the tokenizer has no end token and one is needed.
    """
    template = make_template(protocol.template, tokenizer)
    rendered = [template.render(sample) for sample in samples]
    tokens = iter(tokenize([piece for text in rendered for piece in text.response], tokenizer))
    ids, masks, places = [], [], []
    for sample, prompt, text in zip(samples, prompts, rendered, strict=True):
        response = [token for _ in text.response for token in next(tokens)]
        if not sample.response.strip() or not response:
            continue
        closes = ends and protocol.scores_end and not text.is_closed
        ending = [_end_token(tokenizer)] if closes else []
        room = protocol.max_response_length or protocol.max_length - len(prompt.ids)
        said = (response + ending)[:room]
        ids.append(np.asarray([*prompt.ids, *said], np.int32))
        mask = np.asarray([False] * len(prompt.ids) + [True] * len(said))
        mask[:1] = False  # nothing comes before the first token, so nothing predicts it
        masks.append(mask)
        places.append(sample.index)
    counts = {"samples": len(ids), "response_tokens": int(sum(mask.sum() for mask in masks))}
    return EncodedDataset(ids, masks, places, counts) if ids else None


def _end_token(tokenizer: "PreTrainedTokenizerBase") -> int:
    if tokenizer.eos_token_id is None:
        raise BadInput(
            f"the tokenizer {tokenizer.name_or_path or 'given'!r} has no end token to close responses with; "
            "set its eos_token."
        )
    return tokenizer.eos_token_id
