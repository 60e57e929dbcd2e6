"""A small store of a tiny teacher's answers, and the teacher, for the tests of this folder."""

from pathlib import Path
from typing import Any

import torch
from tiny import TinyDataset, tiny_llama

from stillroom.core.batch import Batch
from stillroom.core.progress import Silent
from stillroom.core.signals import (
    Embedding,
    FinalHidden,
    Head,
    Hidden,
    NormedHidden,
    OutputProjection,
    ReceivedAttention,
    TopTokens,
)
from stillroom.data.collate import Collator
from stillroom.taps.shape import model_shape
from stillroom.teachers.cached import CachedTeacher
from stillroom.teachers.live import LiveTeacher
from stillroom.teachers.store.manifest import Manifest
from stillroom.teachers.store.reader import Store
from stillroom.teachers.store.writer import Ask, Plan, fill, locked, missing, open_plan

REQUESTS = (
    ReceivedAttention(1),
    ReceivedAttention(2, "response"),
    ReceivedAttention(2, "last"),
    Hidden(0),
    Hidden(2),
    NormedHidden(1),
    FinalHidden(),
    TopTokens(4, 2.0),
    Head(),
    Embedding(),
    OutputProjection(2),
)
CPU = torch.device("cpu")


def live_teacher(seed: int = 2) -> LiveTeacher:
    teacher = LiveTeacher(tiny_llama(seed, width=32), vocab_size=35)
    teacher.prepare(REQUESTS)
    return teacher


def plan(folder: Path, dataset: Any, **changes: Any) -> Plan:
    settings = {"identity": {"who": "tiny"}, "requests": REQUESTS, "samples": dataset, "shard_bytes": 4000}
    return Plan(folder, **settings | changes)


def ask(teacher: LiveTeacher, requests: Any = REQUESTS, batch_size: int = 4) -> Ask:
    return Ask(lambda batch: teacher.answer(batch, requests), Collator(0), CPU, batch_size)


def write(plan: Plan, asked: Ask, **settings: bool) -> tuple[Manifest, int]:
    """The manifest, and how many samples had to be computed."""
    with locked(plan.folder):
        manifest = open_plan(plan, **settings)
        indices = missing(plan, manifest)
        with Silent().task("") as advance:
            fill(plan, manifest, indices, asked, advance)
    return manifest, len(indices)


def cached_teacher(folder: Path) -> CachedTeacher:
    return CachedTeacher(Store(folder), model_shape(tiny_llama(2, width=32), 35, ""))


def batch_of(dataset: TinyDataset, indices: list[int], side: Any = "right", multiple: int = 1) -> Batch:
    return Batch.from_inputs(Collator(0, side, multiple)([dataset[index] for index in indices]))
