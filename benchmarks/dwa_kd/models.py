"""What two small trained language models say about responses of Dolly: entropies, confidence, losses.

Data is found under STILLROOM_DATA (default `../shared/data` beside the repository).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data"))
BENCH = DATA / "weights" / "bench"
DOLLY = DATA / "dolly" / "minillm_dev.jsonl"
COUNT, LONGEST = 48, 256


@dataclass(frozen=True)
class Text:
    """Of every token of a response, `[n]` float64; `lengths` of the responses in their order."""

    teacher_entropy: Tensor
    student_entropy: Tensor
    confidence: Tensor
    """The teacher's highest probability, in the place of its projection's: with one vocabulary a perfect "
    "projector."""
    teacher_loss: Tensor
    student_loss: Tensor
    lengths: Tensor
    vocab_size: int


@torch.no_grad()
def texts() -> Text | None:
    """The first held-out responses; None where there are no models."""
    if not (BENCH.exists() and DOLLY.exists()):
        return None
    tokenizer = AutoTokenizer.from_pretrained(BENCH / "teacher")
    models = [
        AutoModelForCausalLM.from_pretrained(BENCH / name, dtype=torch.float32).eval()
        for name in ("teacher", "student")
    ]
    seen: list[tuple[Tensor, ...]] = []
    for prompt, response in _read(tokenizer):
        ids = torch.tensor([prompt + response])[:, :LONGEST]
        first = len(prompt) - 1
        theirs, ours = (model(ids).logits[0, first:-1].double().log_softmax(-1) for model in models)
        after = ids[0, len(prompt) :, None]
        seen.append(
            (
                _entropy(theirs),
                _entropy(ours),
                theirs.amax(-1).exp(),
                -theirs.gather(1, after)[:, 0],
                -ours.gather(1, after)[:, 0],
            )
        )
    lengths = torch.tensor([len(each[0]) for each in seen])
    return Text(*(torch.cat(part) for part in zip(*seen, strict=True)), lengths, models[0].config.vocab_size)


def _read(tokenizer: AutoTokenizer) -> list[tuple[list[int], list[int]]]:
    found = []
    with DOLLY.open() as lines:
        for line in lines:
            record = json.loads(line)
            answer = record["output"] if isinstance(record["output"], str) else record["output"][0]
            prompt, response = (tokenizer(each)["input_ids"] for each in (record["prompt"], answer))  # type: ignore[operator]
            if len(response) >= 8 and len(prompt) < LONGEST // 2:
                found.append((prompt, response))
            if len(found) == COUNT:
                break
    return found


def _entropy(log_p: Tensor) -> Tensor:
    return -(log_p.exp() * log_p).sum(-1)
