"""One batch of prompts continued to their ends, in rounds.

`transformers` carries a finished text along until the longest of its batch is done. Here it generates a few
tokens at a time, finished texts leave with their part of the cache, and the rest goes on: half the work
where lengths differ.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import Cache, GenerationConfig, GenerationMixin, LogitsProcessorList

ROUND = 32
"""Tokens between two looks at who has finished."""


def continue_batch(
    writer: "GenerationMixin",
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    config: "GenerationConfig",
    processors: Sequence["LogitsProcessorList"],
) -> list[list[int]]:
    """The new ids of every prompt, up to its first end token, it included.

    `processors` change the scores of one prompt each, `[1,V]`. `config` names the end tokens, and its
    length is set here.
    """
    responses: list[list[int]] = [[] for _ in prompts]
    unfinished = list(range(len(prompts)))
    ids, mask = (tensor.to(writer.device) for tensor in pad_left(prompts, config.pad_token_id))
    first, cache = ids.shape[1], None
    ends = torch.tensor(config.eos_token_id or [], dtype=torch.long, device=writer.device)
    while unfinished:
        config.max_new_tokens = min(ROUND, max_new_tokens - (ids.shape[1] - first))
        output = writer.generate(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            generation_config=config,
            logits_processor=_row_by_row([processors[index] for index in unfinished]),
        )
        ids = output.sequences
        is_end = torch.isin(ids[:, first:], ends)
        done = is_end.any(dim=1) | (ids.shape[1] - first >= max_new_tokens)
        for place in done.nonzero().flatten().tolist():
            responses[unfinished[place]] = _until_first(ids[place, first:], is_end[place])
        going_on = (~done).nonzero().flatten()
        unfinished = [unfinished[place] for place in going_on.tolist()]
        ids = ids[going_on]
        mask = torch.cat([mask, mask.new_ones(len(mask), ids.shape[1] - mask.shape[1])], dim=1)[going_on]
        cache = _rows(output.past_key_values, going_on)
    return responses


def pad_left(rows: Sequence[Sequence[int]], padding_id: int) -> tuple[Tensor, Tensor]:
    """Ids and mask `[B,S]`: generation goes on at the right edge, so the padding stands on the left."""
    width = max(len(row) for row in rows)
    ids = [[padding_id] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids), torch.tensor(mask)


def _until_first(ids: Tensor, is_end: Tensor) -> list[int]:
    length = int(is_end.int().argmax()) + 1 if is_end.any() else len(ids)
    return ids[:length].tolist()


def _rows(cache: "Cache | None", index: Tensor) -> "Cache | None":
    """The cache of the rows at `index`; None (compute it again) for kinds that cannot be cut."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if not isinstance(cache, DynamicCache) or not all(
        isinstance(layer, DynamicLayer) for layer in cache.layers
    ):
        return None
    cache.batch_select_indices(index)
    return cache


def _row_by_row(processors: Sequence["LogitsProcessorList"]) -> "LogitsProcessorList":
    """Processors of single rows as one list for the whole batch; empty where no row has any."""
    from transformers import LogitsProcessorList

    def process(input_ids: Tensor, scores: Tensor) -> Tensor:
        rows = zip(processors, input_ids.split(1), scores.split(1), strict=True)
        return torch.cat([each(ids, row) for each, ids, row in rows])

    return LogitsProcessorList([process] if any(processors) else [])
