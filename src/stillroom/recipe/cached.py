"""The cache that a recipe trains from: opened, verified, and held against the recipe field by field."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Request
from stillroom.recipe.identity import identity, weight_files
from stillroom.recipe.schema import Recipe
from stillroom.teachers.cached import CachedTeacher, unknown
from stillroom.teachers.store.answers import check_storable
from stillroom.teachers.store.keys import sample_key
from stillroom.teachers.store.manifest import differences, read_manifest
from stillroom.teachers.store.reader import Store

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from stillroom.data.dataset import EncodedDataset


def open_cache(
    recipe: Recipe,
    config: "PreTrainedConfig",
    shape: ModelShape,
    requests: tuple[Request, ...],
    train: "EncodedDataset",
    advance: Advance,
) -> CachedTeacher:
    """The teacher of a recipe with `teacher.use: cached`. `config` and `shape` are those of the model.

    `BadInput` where the cache is of anything else, is not whole, or lacks a signal or a sample.
    """
    assert recipe.teacher is not None
    assert recipe.teacher.cache is not None
    check_storable(requests)  # no cache that is written for them would hold these either
    folder = Path(recipe.teacher.cache)
    wanted = identity(recipe, recipe.teacher, config, shape)
    if sentences := differences(folder, read_manifest(folder).identity, wanted):
        raise BadInput("\n".join(sentences))
    teacher = CachedTeacher(Store(folder, advance), shape)
    teacher.prepare(requests)
    _check_samples(teacher.store, train)
    return teacher


def notes_on(teacher: CachedTeacher, sources: list[str]) -> list[str]:
    """What a person should know of a run that trains from a cache of the teachers in `sources`."""
    store = teacher.store
    notes = [
        f"The teacher answers from the cache {store.folder} (stored as {store.manifest.precision}): it is not marked, "
        "and the student is not compared with it on held-out text."
    ]
    if absent := [source for source in sources if not weight_files(source)]:
        notes.append(
            "The weights of the teacher are not on this machine, so the cache was not held against those of "
            f"{' and '.join(absent)}."
        )
    return notes + store.other_versions()


def _check_samples(store: Store, train: "EncodedDataset") -> None:
    items = (train[index] for index in range(len(train)))
    absent = [
        item["sample_ids"]
        for item in items
        if sample_key(torch.as_tensor(item["input_ids"]), torch.as_tensor(item["response_mask"])) not in store
    ]
    if absent:
        raise BadInput(unknown(store, absent[0], len(absent) - 1))
