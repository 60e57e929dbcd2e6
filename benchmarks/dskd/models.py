"""The heads of two small trained language models, and the teacher's last hidden states on responses of Dolly.

Data is found under STILLROOM_DATA (default `../shared/data` beside the repository).
"""

import json
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from stillroom.core.batch import Side
from stillroom.core.signals import FinalHidden, HeadWeights
from stillroom.taps.capture import capture
from stillroom.taps.head import head_weights

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
BENCH, DOLLY = DATA / "weights" / "bench", DATA / "dolly"
LONGEST = 256


@dataclass(frozen=True)
class Text:
    """Positions that predict a token of a response: hidden states of both models and the tokens, float32."""

    teacher: Tensor
    """`[N,D]`."""
    student: Tensor
    """`[N,d]`."""
    tokens: Tensor
    """`[N]`."""


@dataclass(frozen=True)
class Models:
    """One vocabulary, two heads; `seen` is text to train projectors on, `unseen` to measure them on."""

    teacher: HeadWeights
    student: HeadWeights
    seen: Text
    unseen: Text


@torch.no_grad()
def load(seen: int = 48, unseen: int = 16) -> Models:
    """`seen` responses of the training split, `unseen` of the held-out one."""
    teacher, student = (
        AutoModelForCausalLM.from_pretrained(BENCH / name, dtype=torch.float32).eval()
        for name in ("teacher", "student")
    )
    heads = (head_weights(each) for each in (teacher, student))
    detached = [HeadWeights(each.weight.detach(), each.transform) for each in heads]
    texts = (
        _text(DOLLY / f"minillm_{split}.jsonl", count, teacher, student)
        for split, count in (("train", seen), ("dev", unseen))
    )
    return Models(*detached, *texts)


def _text(path: Path, count: int, teacher: PreTrainedModel, student: PreTrainedModel) -> Text:
    tokenizer = AutoTokenizer.from_pretrained(BENCH / "teacher")
    parts: list[tuple[Tensor, ...]] = []
    with path.open() as lines:
        for line in islice(lines, count):
            record = json.loads(line)
            answer = record["output"] if isinstance(record["output"], str) else record["output"][0]
            prompt, response = (tokenizer(each)["input_ids"] for each in (record["prompt"], answer))
            prompt = prompt[-LONGEST // 2 :]
            ids = torch.tensor([prompt + response])[:, :LONGEST]
            side = Side(ids, torch.ones_like(ids), torch.ones_like(ids))
            rows = slice(len(prompt) - 1, -1)
            states = (
                capture(model, side, (FinalHidden(),))[FinalHidden()][0, rows] for model in (teacher, student)
            )
            parts.append((*states, ids[0, len(prompt) :]))
    return Text(*(torch.cat(each) for each in zip(*parts, strict=True)))
