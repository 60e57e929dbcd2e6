"""Two small trained language models and what they read, where they are: a 12.6 M Llama on Dolly, a 0.2 M one on itself.

Data is found under STILLROOM_DATA (default `../shared/data` beside the repository).
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from shd.heads import Heads
from stillroom.core.batch import Side
from stillroom.core.signals import OutputProjection, QueryKey, Request, Values
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
BENCH, DREAMS = DATA / "weights" / "bench", DATA / "weights" / "aidreams260k"
DOLLY = DATA / "dolly" / "minillm_train.jsonl"


@dataclass(frozen=True, eq=False)
class Teacher:
    name: str
    model: PreTrainedModel
    texts: tuple[Tensor, ...]
    """Token ids `[S]` of every text."""

    def __post_init__(self) -> None:
        prepare(self.model, self._requests)

    @property
    def layers(self) -> range:
        return range(1, self.model.config.num_hidden_layers + 1)

    @property
    def heads(self) -> int:
        return self.model.config.num_attention_heads

    def neighbors(self) -> list[list[int]]:
        """Pairs of heads side by side, which become one."""
        return [[head, head + 1] for head in range(0, self.heads, 2)]

    @torch.no_grad()
    def read(self, text: Tensor) -> dict[int, Heads]:
        """By layer, what its heads do with a text."""
        side = Side(text[None], torch.ones_like(text[None]), torch.ones_like(text[None]))
        signals = capture(self.model, side, self._requests)
        found = {}
        for layer in self.layers:
            seen = signals[QueryKey(layer)]
            parts = seen.query[0], seen.key[0], signals[Values(layer)][0], signals[OutputProjection(layer)]
            found[layer] = Heads(*(part.double() for part in parts), seen.scaling)
        return found

    @property
    def _requests(self) -> list[Request]:
        return [kind(layer) for layer in self.layers for kind in (QueryKey, Values, OutputProjection)]


@cache
def bench(texts: int, shortest: int, longest: int, name: str = "teacher") -> Teacher:
    """12.6 M parameters, 6 layers, 6 query heads on 2 key heads (`student`: 3.2 M, 4 layers, 4 on 2); Dolly, prompts
    with their responses."""
    model = AutoModelForCausalLM.from_pretrained(BENCH / name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(BENCH / name)
    return Teacher(
        {"teacher": "model of 12.6 M", "student": "model of 3.2 M"}[name],
        model,
        tuple(_dolly(tokenizer, texts, shortest, longest)),
    )


@cache
def untrained(texts: int, shortest: int, longest: int) -> Teacher:
    """The teacher as it starts, on the same texts: what heads share before they have learned anything."""
    trained = bench(texts, shortest, longest)
    torch.manual_seed(0)
    return Teacher("the same, untrained", LlamaForCausalLM(trained.model.config).eval(), trained.texts)


@cache
def dreams(texts: int, length: int) -> Teacher:
    """0.2 M parameters, 4 layers, 4 heads with keys and values of their own; texts that it writes itself."""
    model = LlamaForCausalLM.from_pretrained(DREAMS, config=LlamaConfig.from_pretrained(DREAMS)).eval()
    torch.manual_seed(0)
    start = torch.full((texts, 1), 1)
    written = model.generate(  # type: ignore[operator]
        start,
        attention_mask=torch.ones_like(start),
        do_sample=True,
        top_k=0,
        min_new_tokens=length - 1,
        max_new_tokens=length - 1,
        pad_token_id=2,
    )
    return Teacher("model of 0.2 M", model, tuple(written))


def _dolly(tokenizer: Any, texts: int, shortest: int, longest: int) -> Iterator[Tensor]:
    """The first texts of the training set with at least `shortest` tokens, cut to `longest`."""
    with DOLLY.open() as lines:
        for line in lines:
            record = json.loads(line)
            ids = tokenizer(record["prompt"] + record["output"])["input_ids"]
            if len(ids) >= shortest:
                yield torch.tensor(ids[:longest])
                texts -= 1
                if texts == 0:
                    return
