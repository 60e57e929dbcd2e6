"""Responses of Dolly, and what two small trained language models make of some of them.

Data is found under STILLROOM_DATA (default `../shared/data` beside the repository).
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from dskd.models import BENCH, DOLLY
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

COUNT, LONGEST = 48, 256
"""Responses that models read, and how many tokens of them with their prompts."""


class Sample(NamedTuple):
    prompt: str
    response: str


@cache
def samples(most: int = 400) -> list[Sample]:
    """The first held-out samples; empty where the data is not there."""
    path = DOLLY / "minillm_dev.jsonl"
    if not path.exists():
        return []
    with path.open() as lines:
        records = [json.loads(line) for _, line in zip(range(most), lines, strict=False)]
    answers = [each["output"] if isinstance(each["output"], str) else each["output"][0] for each in records]
    return [Sample(each["prompt"], answer) for each, answer in zip(records, answers, strict=True) if answer]


@dataclass(frozen=True)
class Pair:
    """Teacher and student with one tokenizer; attention maps can be seen."""

    teacher: PreTrainedModel
    student: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


@cache
def pair() -> Pair:
    teacher, student = (
        AutoModelForCausalLM.from_pretrained(
            BENCH / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        for name in ("teacher", "student")
    )
    return Pair(teacher, student, AutoTokenizer.from_pretrained(BENCH / "teacher"))


class Read(NamedTuple):
    """One sample in tokens; `first` is the response's first."""

    ids: Tensor
    """`[n]`."""
    first: int
    response: str
    ends: list[int]
    """Byte ends of the tokens of the response."""


@cache
def read() -> list[Read]:
    """The first samples with a response of 8 tokens and more that fits behind its prompt."""
    from stillroom.alignment.reader import Reader

    tokenizer = pair().tokenizer
    reader = Reader(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
    found: list[Read] = []
    for prompt, response in samples():
        before, behind = reader.read(prompt).ids, reader.read(response)
        if len(behind.ids) >= 8 and len(before) + len(behind.ids) <= LONGEST and behind.ends is not None:
            found.append(Read(torch.tensor(before + behind.ids), len(before), response, behind.ends.tolist()))
        if len(found) == COUNT:
            break
    return found


def available() -> bool:
    return bool(samples()) and BENCH.exists()
