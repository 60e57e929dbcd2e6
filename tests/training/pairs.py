"""Builds a small trainer for the tests of this folder."""

from pathlib import Path
from typing import Any

import torch
from tiny import TinyDataset, tiny_llama
from transformers import TrainingArguments

from stillroom.core.objective import Objective
from stillroom.data.collate import Collator
from stillroom.objectives.hard.cross_entropy import CrossEntropy
from stillroom.objectives.logits.forward_kl import ForwardKL
from stillroom.taps.shape import model_shape
from stillroom.teachers.live import LiveTeacher
from stillroom.training.pair import Pair
from stillroom.training.trainer import DistillationTrainer


def make_trainer(
    folder: Path,
    *,
    objectives: dict[str, Objective] | None = None,
    weights: dict[str, float] | None = None,
    rates: dict[str, float] | None = None,
    dataset: TinyDataset | None = None,
    student: torch.nn.Module | None = None,
    **settings: object,
) -> DistillationTrainer:
    objectives = objectives or {"hard.cross_entropy": CrossEntropy(), "logits.forward_kl": ForwardKL()}
    student = student if student is not None else tiny_llama(1)
    teacher = LiveTeacher(tiny_llama(2, width=32), vocab_size=37)
    pair = Pair(
        student,
        objectives,
        weights or dict.fromkeys(objectives, 1.0),
        model_shape(student, 37, "tiny"),
        model_shape(teacher.model, 37, "tiny"),
        rates,
    )
    one_cycle = bool(settings.pop("one_cycle", False))
    evaluate: Any = settings.pop("evaluate_student", None)
    optimizer: Any = settings.pop("optimizer", None)
    arguments = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "seed": 3,
        **settings,
    }
    return DistillationTrainer(
        pair,
        args=TrainingArguments(**arguments),
        teacher=teacher,
        train_dataset=dataset or TinyDataset(),
        data_collator=Collator(padding_id=0),
        evaluate_student=evaluate,
        one_cycle=one_cycle,
        optimizer=optimizer,
    )


def history(trainer: DistillationTrainer, key: str) -> list[float]:
    return [row[key] for row in trainer.state.log_history if key in row]


def parameters(trainer: DistillationTrainer) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in trainer.pair.student.parameters()])
