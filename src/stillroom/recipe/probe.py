"""A few dozen samples of a recipe's own text, as batches: under its template, under others, and without a prompt.

Held-out text where there is some (a teacher may know the training text by heart), cheap samples rather than long ones:
the shorter half of twice as many that were drawn, and `RESPONSE` tokens of each response. Every draw has a generator of
its own, so that nothing of a run moves.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.data.collate import Collator
from stillroom.data.columns import Instruction, Prompt, Sample
from stillroom.data.encode import encode
from stillroom.data.templates import TEMPLATES
from stillroom.recipe.schema import Recipe

BATCH = 16
MOST = 256
"""Samples that are kept to ask about."""
RESPONSE = 64

Items = list[dict[str, Any]]


def draw(samples: Sequence[Sample], seed: int, count: int = MOST) -> list[Sample]:
    """`count` samples with a response (or all), by `seed`."""
    answered = [sample for sample in samples if sample.response.strip()]
    return random.Random(seed).sample(answered, min(count, len(answered)))


def shorter_half(drawn: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples: those with the shorter questions among the first twice as many."""
    return sorted(drawn[: 2 * count], key=lambda sample: len(sample.question.text))[:count]


def items(samples: Sequence[Sample], tokenizer: Any, recipe: Recipe, template: str | None = None) -> Items:
    """The samples as the recipe encodes them, or under another template; responses are cut to `RESPONSE` tokens.

    `BadInput` where the template does not fit the samples or the tokenizer.
    """
    data = recipe.data
    encoded = encode(
        samples,
        tokenizer,
        template or data.template,
        max_length=data.max_length,
        max_prompt_length=data.max_prompt_length,
        on_bad_record="skip",
    )
    return [_cut(encoded[index]) for index in range(len(encoded))]


def others(samples: Sequence[Sample], tokenizer: Any, recipe: Recipe) -> Iterator[tuple[str, Items, bool]]:
    """Other templates that can write these samples: name, items, and whether the data could be read that way."""
    for name in TEMPLATES:
        if name == recipe.data.template:
            continue
        for fits, asked in ((True, samples), (False, _as_instructions(samples))):
            try:
                yield name, items(asked, tokenizer, recipe, name), fits
            except BadInput:
                continue
            break


def without_prompt(full: Items) -> Items:
    """The responses after nothing but the last token of their prompts, which something must predict them from."""
    bare = []
    for item in full:
        first = int(item["response_mask"].nonzero()[0]) - 1
        bare.append(item | {key: item[key][first:] for key in ("input_ids", "response_mask")})
    return bare


def have_prompts(full: Items) -> bool:
    """Whether most samples ask something: more than what opens every text."""
    asked = sum(int(item["response_mask"].nonzero()[0]) > 2 for item in full)
    return 2 * asked > len(full)


def batches(chosen: Items, collator: Collator, device: torch.device, size: int = BATCH) -> list[Batch]:
    """On `device`, samples of like length together."""
    ordered = sorted(chosen, key=lambda item: len(item["input_ids"]))
    parts = [ordered[first : first + size] for first in range(0, len(ordered), size)]
    return [Batch.from_inputs({k: v.to(device) for k, v in collator(part).items()}) for part in parts]


def _cut(item: Any) -> dict[str, Any]:
    end = int(item["response_mask"].nonzero()[0]) + RESPONSE
    return {
        "input_ids": item["input_ids"][:end],
        "response_mask": item["response_mask"][:end],
        "sample_ids": item["sample_ids"],
    }


def _as_instructions(samples: Sequence[Sample]) -> list[Sample]:
    """What a prompt asks may be what an instruction says."""
    return [
        replace(sample, question=Instruction(sample.question.text))
        if isinstance(sample.question, Prompt)
        else sample
        for sample in samples
    ]
