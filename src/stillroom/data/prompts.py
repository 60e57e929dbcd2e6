"""Prompts to generate from: the very ids that training puts before a response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.data.columns import Sample
from stillroom.data.encode import keep_end
from stillroom.data.templates import Template, make_template
from stillroom.data.tokens import opening_ids, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptItem:
    """One prompt. `ids` are cut to their end like those of `encode`; `text` is the whole prompt."""

    sample_id: int
    ids: list[int]
    text: str
    references: tuple[str, ...]


def prompts_for_generation(
    samples: Sequence[Sample],
    tokenizer: "PreTrainedTokenizerBase",
    template: str | Template,
    max_prompt_length: int,
) -> list[PromptItem]:
    """The prompt of every sample, at most `max_prompt_length` tokens long; `BadInput` where that is below
    1."""
    if max_prompt_length < 1:
        raise BadInput(f"max_prompt_length must be at least 1, got {max_prompt_length}.")
    template = make_template(template, tokenizer) if isinstance(template, str) else template
    opening = [] if template.writes_opening else opening_ids(tokenizer)
    rendered = [template.render(sample) for sample in samples]
    tokens = iter(tokenize([piece for text in rendered for piece in text.prompt], tokenizer))
    items = []
    for sample, text in zip(samples, rendered, strict=True):
        ids = [token for _ in text.prompt for token in next(tokens)]
        items.append(
            PromptItem(
                sample.index, keep_end(opening, ids, max_prompt_length), text.prompt_text, sample.references
            )
        )
    return items
