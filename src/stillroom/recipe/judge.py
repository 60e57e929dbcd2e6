"""Marks for a model that was trained somewhere else: the evaluation of a run, without the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stillroom.alignment.vocabulary import VocabularyMatch
from stillroom.core.errors import BadInput
from stillroom.core.progress import Display, Silent
from stillroom.core.record import STUDENT, SUMMARY
from stillroom.data.collate import Collator
from stillroom.data.columns import to_samples
from stillroom.data.encode import encode
from stillroom.data.prompts import prompts_for_generation
from stillroom.data.sources import read_records
from stillroom.evaluation.evaluate_model import METRICS, NEED_TEACHER, evaluate_model
from stillroom.recipe.models import check_causal, load_config, load_student, load_teacher, load_tokenizer
from stillroom.recipe.schema import Student, Teacher
from stillroom.recipe.vocabularies import read_bytes, shared_vocabulary
from stillroom.teachers.live import LiveTeacher


def judge(
    model: str,
    data: str,
    *,
    teacher: str | None = None,
    template: str = "alpaca",
    max_length: int = 512,
    prompts: int = 100,
    limit: int | None = None,
    metrics: Sequence[str] = (),
    display: Display | None = None,
) -> dict[str, float]:
    """Marks of `model` (a run folder means its student) on the samples of `data`: `metrics`, or all that can be had.

    `BadInput` where `teacher` has another vocabulary: what is measured against one compares token by token.
    """
    display = display or Silent()
    source = model if not (Path(model) / SUMMARY).exists() else str(Path(model) / STUDENT)
    sources = {"student": source} | ({"teacher": teacher} if teacher else {})
    tokenizers = {role: load_tokenizer(each, role) for role, each in sources.items()}
    configs = {role: load_config(each, role) for role, each in sources.items()}
    for role, each in sources.items():
        check_causal(configs[role], each, role)
    match = _match(tokenizers, configs)
    tokens = read_bytes(tokenizers["student"])
    samples = to_samples(read_records(data)).samples[:limit]
    dataset = encode(samples, tokenizers["student"], template, max_length, on_bad_record="skip")
    items = prompts_for_generation(samples[:prompts], tokenizers["student"], template, max_length // 2)
    possible = [name for name in METRICS if teacher or name not in NEED_TEACHER]
    possible = [name for name in possible if items or name != "rouge_l"]
    possible = [name for name in possible if tokens or name != "bits_per_byte"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = load_student(Student(model=source), seed=0).to(device)
    live = None
    if teacher:
        live = LiveTeacher(
            load_teacher(Teacher(model=teacher)).to(device),
            vocab_size=match.shared,
            vocabulary=match.identity,
        )
    with display.task("Evaluating") as advance:
        values, _ = evaluate_model(
            weights,
            dataset,
            Collator(padding_id=0),
            tokenizers["student"],
            metrics=metrics or possible,
            prompts=items,
            teacher=live,
            vocab_size=match.shared if teacher else None,
            tokens=tokens,
            max_new_tokens=max_length - max_length // 2,
            progress=lambda part, done, total: advance(done, total, part),
        )
    return values


def _match(tokenizers: dict[str, Any], configs: dict[str, Any]) -> VocabularyMatch:
    try:
        return shared_vocabulary(tokenizers, configs)
    except BadInput as error:
        if "teacher" not in tokenizers:
            raise
        raise BadInput(
            "--teacher: agreement with one is measured token by token over one vocabulary; leave --teacher out, and "
            f"compare both models with --metric bits_per_byte. {error}"
        ) from error
