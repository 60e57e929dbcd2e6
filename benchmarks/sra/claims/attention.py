"""Which query's attention weighs the tokens, and which spans that makes important: two small trained models, "
"Dolly."""

from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

import torch
from findings import Finding
from torch import Tensor
from transformers import PreTrainedModel

from sra.texts import Read, available, pair, read

BATCH = 8
END = 0
"""The end token, with which the public program pads."""


class Seen(NamedTuple):
    """One sample in a batch: how the queries share their attention over the tokens of its response, `[n]`."""

    valid: Tensor
    """Of the last real token."""
    padded: Tensor
    """Of the last position of the row."""
    padding: int
    on_response: float
    """Of all attention of the last real token: what falls on the response."""
    on_first: float
    """And on the very first token of the row."""


def findings() -> list[Finding]:
    if not available():
        return []
    seen = {name: attention(getattr(pair(), name), read()) for name in ("teacher", "student")}
    return [padded_query(seen), salience(seen["teacher"]), own_weights(seen)]


@torch.no_grad()
def attention(model: PreTrainedModel, texts: Sequence[Read]) -> list[Seen]:
    """In batches as the program makes them: padded on the right, maps of the last block, summed over heads."""
    found: list[Seen] = []
    for first in range(0, len(texts), BATCH):
        some = texts[first : first + BATCH]
        ids = torch.nn.utils.rnn.pad_sequence(
            [each.ids for each in some], batch_first=True, padding_value=END
        )
        lengths = torch.tensor([len(each.ids) for each in some])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        maps = model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions[-1].sum(1)
        for row, each in enumerate(some):
            last, at_end = maps[row, lengths[row] - 1], maps[row, -1]
            response = slice(each.first, len(each.ids))
            found.append(
                Seen(
                    last[response] / last[response].sum(),
                    at_end[response] / at_end[response].sum(),
                    ids.shape[1] - len(each.ids),
                    (last[response].sum() / last.sum()).item(),
                    (last[0] / last.sum()).item(),
                )
            )
    return found


def distance(first: Tensor, second: Tensor) -> float:
    """Total variation: the share of the weight that lies elsewhere."""
    return 0.5 * (first - second).abs().sum().item()


def padded_query(seen: dict[str, list[Seen]]) -> Finding:
    rows = []
    for name, samples in seen.items():
        padded = [each for each in samples if each.padding]
        rows.append(
            {
                "model": name,
                "samples with padding": len(padded) / len(samples),
                "weight that lies elsewhere": mean(distance(each.valid, each.padded) for each in padded),
                "most": max(distance(each.valid, each.padded) for each in padded),
            }
        )
    return Finding(
        "padded query",
        "Tokens are weighed by the attention of the last position",
        "holds in part",
        f"In the program the last position of the padded row: for {rows[0]['samples with padding']:.0%} of the "
        "samples, "
        f"in batches of {BATCH}, that is an end token behind the text, and "
        f"{rows[0]['weight that lies elsewhere']:.0%} of "
        f"the teacher's weight lies on other tokens than that of the last real token (the student's: "
        f"{rows[1]['weight that lies elsewhere']:.0%}). What a span weighs depends on the batch. Here the last "
        "real token asks.",
        {"table": rows},
    )


def salience(samples: Sequence[Seen]) -> Finding:
    tenths = [_in_tenths(each.valid) for each in samples if len(each.valid) >= 10]
    by_tenth = torch.stack(tenths).mean(0).tolist()
    effective = mean(1 / each.valid.square().sum().item() / len(each.valid) for each in samples)
    return Finding(
        "salience",
        "Attention-derived weighting prioritizes the most salient spans (abstract)",
        "holds in part",
        f"It is the attention of one token, the last: {mean(each.on_response for each in samples):.0%} of it "
        "falls on "
        f"the response at all, and of that {by_tenth[-1]:.0%} on its last tenth and {by_tenth[0]:.0%} on its first. "
        f"As many spans count as if {effective:.0%} of them had equal weight.",
        {
            "table": [{"tenth of the response": i + 1, "weight": each} for i, each in enumerate(by_tenth)],
            "on the response": mean(each.on_response for each in samples),
            "on the first token of the row": mean(each.on_first for each in samples),
            "effective share": effective,
        },
    )


def _in_tenths(weights: Tensor) -> Tensor:
    place = torch.arange(len(weights)) * 10 // len(weights)
    return torch.zeros(10).index_add(0, place, weights)


def own_weights(seen: dict[str, list[Seen]]) -> Finding:
    apart = [distance(a.valid, b.valid) for a, b in zip(seen["teacher"], seen["student"], strict=True)]
    return Finding(
        "own attention",
        "The student's centers are weighed by its own attention, the teacher's by its own",
        "holds",
        f"Their weights differ by {mean(apart):.0%} before training. It makes no difference where a span is "
        "one token: "
        "there every weight has the same center.",
        {"weight that lies elsewhere": mean(apart)},
    )
