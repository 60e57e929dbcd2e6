"""Text from a model: batched, with a key-value cache, in the order of the prompts.

Greedy at sampling temperature 0. Otherwise token v is drawn with probability p_v by a race of exponential
clocks,

    argmax_v  p_v / e_v,   e_v ~ Exp(1),

whose noise comes from one generator per prompt, seeded by the seed and the prompt's place. So a text
depends on its prompt and the seed alone, not on what else is in its batch, and the random state of a
training around it stays untouched.

Code:     transformers' `generate` does the work
Differs:  none of a model's own generation defaults (its temperature, penalties, lengths, end tokens) is used;
          transformers would fill them in even beside an explicit configuration
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from stillroom.core.errors import BadInput
from stillroom.evaluation._rounds import continue_batch
from stillroom.taps.anatomy import causal_lm
from stillroom.taps.eval_mode import eval_mode

if TYPE_CHECKING:
    from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, PreTrainedTokenizerBase


class Prompt(Protocol):
    """What is needed of a prompt: its token ids."""

    @property
    def ids(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Generations:
    """Texts in the order of the prompts, without special tokens, cut at the end token."""

    texts: list[str]
    tokens: int
    """Generated tokens of all texts, end tokens included."""
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


def generate(
    model: nn.Module,
    prompts: Sequence[Prompt],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_new_tokens: int,
    sampling_temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 10,
    batch_size: int = 32,
    no_repeat_ngram_size: int = 0,
    end_ids: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generations:
    """Continue every prompt by at most `max_new_tokens` tokens.

    `end_ids` end a text; by default the tokenizer's end token alone. `no_repeat_ngram_size` forbids to
    repeat an n-gram of the prompt or the text; 0 allows all. `progress(done, total)` counts prompts.
    `BadInput` where a prompt is empty or leaves no room for the new tokens in the model's positions.
    """
    writer = _writer(model)
    _check(writer, prompts, max_new_tokens, sampling_temperature, top_p, batch_size)
    if end_ids is None:
        end_ids = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    config = _configuration(no_repeat_ngram_size, end_ids)
    responses: list[list[int]] = [[] for _ in prompts]
    longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].ids))
    start = time.perf_counter()
    with eval_mode(model), _only(writer, config):
        for first in range(0, len(prompts), batch_size):
            chosen = longest_first[first : first + batch_size]
            rows = [prompts[index].ids for index in chosen]
            sampling = [_sampling(sampling_temperature, top_p, seed, index) for index in chosen]
            for index, ids in zip(
                chosen, continue_batch(writer, rows, max_new_tokens, config, sampling), strict=True
            ):
                responses[index] = ids
            if progress is not None:
                progress(first + len(chosen), len(prompts))
    seconds = time.perf_counter() - start
    texts = [
        tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for ids in responses
    ]
    return Generations(texts, sum(map(len, responses)), seconds)


def _writer(model: nn.Module) -> "GenerationMixin":
    """The part of `model` that can generate; adapters of a wrapped model sit inside it and stay active."""
    from transformers import GenerationMixin

    lm = causal_lm(model)
    if not isinstance(lm, GenerationMixin):
        raise BadInput(
            f"{type(lm).__name__} cannot generate text; expected a causal language model of transformers."
        )
    return lm


def _check(
    writer: "GenerationMixin",
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    sampling_temperature: float,
    top_p: float,
    batch_size: int,
) -> None:
    if max_new_tokens < 1 or batch_size < 1:
        raise BadInput(
            f"max_new_tokens and batch_size must be at least 1, got {max_new_tokens} and {batch_size}."
        )
    if not 0 <= sampling_temperature < float("inf"):
        raise BadInput(
            f"sampling_temperature must be finite and at least 0 (greedy), got {sampling_temperature}."
        )
    if not 0 < top_p <= 1:
        raise BadInput(f"top_p must lie in (0, 1], got {top_p}; 1 keeps every token.")
    positions = getattr(writer.config.get_text_config(decoder=True), "max_position_embeddings", None)
    for index, prompt in enumerate(prompts):
        length = len(prompt.ids)
        if length == 0:
            raise BadInput(f"prompt {index} has no tokens; a text cannot be generated from nothing.")
        if positions is not None and length + max_new_tokens > positions:
            raise BadInput(
                f"prompt {index} has {length} tokens and {max_new_tokens} are to be added, but the model has "
                f"{positions} positions; lower evaluation.max_new_tokens or data.max_prompt_length."
            )


def _configuration(no_repeat_ngram_size: int, end_ids: Sequence[int]) -> "GenerationConfig":
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        use_cache=True,
        eos_token_id=list(end_ids) or None,
        # Masks come from lengths, so the padding may be any token.
        pad_token_id=end_ids[0] if end_ids else 0,
        no_repeat_ngram_size=no_repeat_ngram_size or None,
        return_dict_in_generate=True,
    )


@contextmanager
def _only(writer: "GenerationMixin", config: "GenerationConfig") -> Iterator[None]:
    """Let the model know no generation defaults but `config`, for a while."""
    own = writer.generation_config
    writer.generation_config = config
    try:
        yield
    finally:
        writer.generation_config = own


def _sampling(temperature: float, top_p: float, seed: int, index: int) -> "LogitsProcessorList":
    """What turns greedy search into sampling for one prompt; empty at temperature 0."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    processors = LogitsProcessorList()
    if temperature == 0:
        return processors
    processors.append(TemperatureLogitsWarper(float(temperature)))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    processors.append(_race(torch.Generator().manual_seed(seed * 1_000_003 + index)))
    return processors


def _race(generator: torch.Generator) -> Callable[[Tensor, Tensor], Tensor]:
    """Scores minus the logarithm of exponential noise: their arg-max is a sample of their softmax."""

    def perturb(input_ids: Tensor, scores: Tensor) -> Tensor:
        clocks = torch.empty(scores.shape, dtype=torch.float32).exponential_(generator=generator)
        return scores.float() - clocks.log_().to(scores.device)

    return perturb
