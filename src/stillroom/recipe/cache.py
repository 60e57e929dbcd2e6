"""`stillroom cache`: the teacher of a recipe runs once over its training text, and its answers are kept on disk."""

import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.progress import Display, Silent
from stillroom.core.signals import Head, Request, Signals
from stillroom.recipe.build import load_live, teacher_collator
from stillroom.recipe.identity import autocast_type, identity, weight_sources, weights_hash
from stillroom.recipe.prepare import Prepared, prepare
from stillroom.recipe.schema import Recipe, Teacher
from stillroom.teachers.store.answers import check_storable
from stillroom.teachers.store.manifest import Manifest, differences
from stillroom.teachers.store.writer import Ask, Plan, fill, locked, missing, open_plan

VERSIONS = ("stillroom", "torch", "transformers")


@dataclass(frozen=True)
class Cached:
    """What was written."""

    folder: str
    samples: int
    tokens: int
    bytes: int
    bytes_per_token: float
    computed: int
    """Samples that were not in the cache before."""
    seconds: float
    """Time that the teacher and the writing took."""


def write_cache(
    recipe: Recipe,
    folder: str | None = None,
    *,
    precision: str = "auto",
    shard_bytes: int = 64_000_000,
    batch_size: int | None = None,
    repair: bool = False,
    display: Display | None = None,
) -> Cached:
    """Write, go on with, extend or repair the cache in `folder` (default: `teacher.cache` of the recipe).

    `precision` is "auto" (float16 for shares and probabilities, hidden states as computed), "float32", "bfloat16" or
    "float16"; `batch_size` samples are computed at once (default: `training.per_device_train_batch_size`). Raises
    `BadInput` before any weight is loaded where that is possible.
    """
    display = display or Silent()
    if batch_size is not None and batch_size < 1:
        raise BadInput(f"expected a batch_size of at least 1, got {batch_size}")
    target = Path(folder or (recipe.teacher and recipe.teacher.cache) or _nowhere()).expanduser()
    prepared = prepare(_live(recipe), display)
    if not prepared.teacher_requests:
        raise BadInput(
            "the objectives of this recipe read nothing of a teacher, so there is nothing to cache"
        )
    check_storable(prepared.teacher_requests)
    _check_mean(prepared.recipe.teacher, prepared.teacher_requests)
    versions = {package: version(package) for package in VERSIONS}
    plan = Plan(
        target,
        _identity(prepared),
        prepared.teacher_requests,
        prepared.taught,
        precision,
        shard_bytes,
        versions,
    )
    with locked(target):
        with display.task("Looking at what is there") as advance:
            manifest = open_plan(plan, repair=repair, advance=advance)
            indices = missing(plan, manifest)
        started = time.monotonic()
        if indices or not manifest.complete or (plan.wants_once and manifest.once is None):
            _compute(prepared, plan, manifest, indices, batch_size, display)
    return Cached(
        str(target),
        manifest.samples,
        manifest.tokens,
        manifest.bytes,
        round(manifest.bytes / max(manifest.tokens, 1), 2),
        len(indices),
        round(time.monotonic() - started, 3),
    )


def _compute(
    prepared: Prepared,
    plan: Plan,
    manifest: Manifest,
    indices: list[int],
    batch_size: int | None,
    display: Display,
) -> None:
    recipe = prepared.recipe
    assert recipe.teacher is not None
    use_cpu = recipe.training.get("use_cpu") or not torch.cuda.is_available()
    device = torch.device("cpu" if use_cpu else "cuda")
    with display.task("Loading the teacher"):
        teacher = load_live(prepared)
        teacher.to(device)
        teacher.prepare(plan.requests)
    _settle_weights(manifest, plan, recipe.teacher)
    autocast = autocast_type(recipe)

    def answer(batch: Batch) -> Signals:
        dtype = None if autocast == "none" else getattr(torch, autocast)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return teacher.answer(batch, plan.requests)

    size = batch_size or recipe.training["per_device_train_batch_size"]
    ask = Ask(answer, teacher_collator(prepared), device, size)
    with display.task(f"Caching {len(indices):,} samples") as advance:
        fill(plan, manifest, indices, ask, advance)


def _settle_weights(manifest: Manifest, plan: Plan, teacher: Teacher) -> None:
    """Weights of the Hub may have been fetched just now: hold them against those the cache was begun with."""
    for name, source in weight_sources(teacher).items():
        known = plan.identity[name] or weights_hash(source)
        identity = manifest.identity | {name: known}
        if manifest.files and (sentences := differences(plan.folder, manifest.identity, identity)):
            raise BadInput("\n".join(sentences))
        if known is not None:
            manifest.identity = identity


def _check_mean(teacher: Teacher | None, requests: tuple[Request, ...]) -> None:
    """A store knows one head, and the mean of probabilities is not what one head says."""
    if teacher is not None and teacher.others and teacher.combine == "probabilities" and Head() in requests:
        raise BadInput(
            "teacher.combine: a cache holds the mean of probabilities as top tokens only; give the objectives on "
            "logits top_k, or use combine: logits"
        )


def _identity(prepared: Prepared) -> dict[str, Any]:
    assert prepared.recipe.teacher is not None
    assert prepared.teacher_config is not None
    assert prepared.teacher_shape is not None
    return identity(prepared.recipe, prepared.recipe.teacher, prepared.teacher_config, prepared.teacher_shape)


def _live(recipe: Recipe) -> Recipe:
    if recipe.teacher is None:
        raise BadInput("teacher: missing, and a cache holds what one says; add teacher: {model: ...}")
    return recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"use": "live"})})


def _nowhere() -> str:
    raise BadInput("expected a folder for the cache: give --output, or teacher.cache in the recipe")
