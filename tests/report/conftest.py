"""Run folders that look like real ones, made without a model."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stillroom.core.record import (
    METRICS,
    RECIPE,
    SAMPLES,
    RunSummary,
    append_jsonl,
    write_jsonl,
    write_summary,
)

MakeRun = Callable[..., Path]

_RECIPE = """\
student: {model: models/opt-125m, init: pretrained}
teacher: {use: live, model: models/opt-1.3b, dtype: auto}
objectives:
  - {use: hard.cross_entropy, weight: 0.3}
  - {use: logits.forward_kl, weight: 0.7, temperature: 2.0}
training: {max_steps: 2000, learning_rate: 5.0e-4}
seed: 10
"""
_PROMPTS = (
    ("Name three primary colors.", "Red, yellow and blue."),
    (
        "Why do leaves turn red in autumn?\nAnswer in two sentences.",
        "Chlorophyll breaks down. Other pigments show.",
    ),
    ("Write a Python function that reverses a string.", "def reverse(text):\n    return text[::-1]"),
    ("Übersetze „Guten Morgen“ ins Japanische.", "おはようございます"),
)


def build_run(
    folder: Path,
    name: str = "forward_kl",
    loss: float = 2.855,
    seed: int = 10,
    lines: int = 300,
    **changed: Any,
) -> Path:
    """A finished run whose held-out loss is `loss`; `changed` replaces fields of its run.json."""
    folder.mkdir(parents=True)
    summary = RunSummary(
        name=name,
        exit="done",
        final=_metrics(loss, 0.612, 0.304, 24.3),
        baseline=_metrics(3.44, 0.471, 0.98, 13.2),
        teacher={"loss": 2.49, "perplexity": math.exp(2.49), "rouge_l": 27.6},
        models={
            "student": {
                "source": "models/opt-125m",
                "model_type": "opt",
                "parameters": 125_239_296,
                "sha256": "ab" * 32,
            },
            "teacher": {
                "source": "models/opt-1.3b",
                "model_type": "opt",
                "parameters": 1_315_758_080,
                "sha256": "cd" * 32,
            },
        },
        data={
            "train": {
                "source": "train.jsonl",
                "samples": 11_435,
                "response_tokens": 1_048_320,
                "sha256": "12" * 32,
                "cut_responses": 37,
            },
            "eval": {"source": "eval.jsonl", "samples": 500, "response_tokens": 41_022, "sha256": "34" * 32},
        },
        objectives=[
            {
                "use": "hard.cross_entropy",
                "weight": 0.3,
                "additive": True,
                "terms": ["token"],
                "settings": {},
            },
            {
                "use": "logits.forward_kl",
                "weight": 0.7,
                "additive": True,
                "terms": ["token"],
                "settings": {"temperature": 2.0},
            },
        ],
        steps=2000,
        tokens=2_096_640,
        seconds=4321.0,
        tokens_per_second=485.2,
        peak_memory_bytes=6_871_947_674,
        seed=seed,
        versions={"stillroom": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        environment={
            "device": "cpu",
            "threads": 2,
            "precision": "float32",
            "command": "stillroom distill recipe.yaml",
        },
        notes=["Trimming padded head rows removed 0.0003 % of the teacher's probability."],
    )
    for key, value in changed.items():
        setattr(summary, key, value)
    write_summary(folder, summary)
    (folder / RECIPE).write_text(_RECIPE, encoding="utf-8")
    _write_metrics(folder, loss, lines, random.Random(f"{name} {seed}"))
    write_jsonl(folder / SAMPLES, ({"prompt": p, "reference": r, **_answers(name, r)} for p, r in _PROMPTS))
    return folder


def _metrics(loss: float, agreement: float, teacher_kl: float, rouge_l: float) -> dict[str, float]:
    return {
        "loss": loss,
        "perplexity": math.exp(loss),
        "agreement": agreement,
        "teacher_kl": teacher_kl,
        "rouge_l": rouge_l,
    }


def _answers(name: str, reference: str) -> dict[str, str]:
    return {
        "teacher": f"{reference} That is what the teacher would say, at some length and with confidence.",
        "baseline": "The first is the first is the first is the first is the first.",
        "student": f"{reference} ({name})",
    }


def _write_metrics(folder: Path, loss: float, lines: int, chance: random.Random) -> None:
    for i in range(lines):
        share = (i + 1) / lines
        course = loss + (3.44 - loss) * math.exp(-5 * share)
        place = {"step": round(2000 * share), "tokens": round(2_096_640 * share), "seconds": 4321 * share}
        noise = chance.gauss(0, 0.08)
        rate = 5e-4 * min(1, share / 0.05) * (0.5 + 0.5 * math.cos(math.pi * share))
        train = {
            "split": "train",
            "loss": course + noise,
            "loss/hard.cross_entropy/token": course + noise,
            "loss/logits.forward_kl/token": 40 * math.exp(-6 * share) + 0.3 * math.exp(noise),
            "grad_norm/hard.cross_entropy": abs(chance.gauss(1.4, 0.3)) + 3 * math.exp(-9 * share),
            "grad_norm/logits.forward_kl": abs(chance.gauss(0.7, 0.1)) + 2 * math.exp(-9 * share),
            "learning_rate": rate,
        }
        append_jsonl(folder / METRICS, place | train)
        if i % max(1, lines // 10) == 0 or i == lines - 1:
            held_out = {
                "split": "eval",
                "loss": course,
                "perplexity": math.exp(course),
                "agreement": 0.612 - 0.14 * math.exp(-5 * share),
            }
            append_jsonl(folder / METRICS, place | held_out)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(name, **settings)` makes a run folder called `name` and returns it; see `build_run`."""

    def make(name: str = "forward_kl", **settings: Any) -> Path:
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        return build_run(folder, name, **settings)

    return make
