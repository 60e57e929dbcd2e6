"""`stillroom match-heads`: which heads of a teacher are alike on its training text, and which shall become one.

For each layer, the mean over samples of how alike the maps of every two heads are (`kernels.map_similarity`), then as
many groups as the student has heads (`numerics.head_matching`). Done once, before any training that uses the file.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.head_groups import HeadGroups, write_head_groups
from stillroom.core.progress import Advance, Display, Silent
from stillroom.core.signals import QueryKey, QueryKeys
from stillroom.kernels.map_similarity import map_similarity
from stillroom.numerics.head_matching import match_heads
from stillroom.recipe.build import collator
from stillroom.recipe.identity import weights_hash
from stillroom.recipe.models import empty_model, load_config, load_teacher
from stillroom.recipe.prepare import Prepared, prepare
from stillroom.recipe.schema import Recipe, Student, Teacher
from stillroom.taps.shape import model_shape
from stillroom.taps.structure import check_structure
from stillroom.teachers.live import LiveTeacher

Rows = Literal["real", "response"]


def write_groups(
    recipe: Recipe,
    path: Path,
    *,
    batches: int = 64,
    rows: Rows = "real",
    display: Display | None = None,
) -> HeadGroups:
    """Compare the teacher's heads, layer by layer, and write their groups to `path` (see `core.head_groups`).

    `batches` of `training.per_device_train_batch_size` samples are drawn with the recipe's seed. `rows` are the queries
    whose attention is compared: all real tokens, or those that predict a trained one. The objectives of the recipe are
    not looked at. Raises `BadInput`, before any weight is loaded where that is possible.
    """
    display = display or Silent()
    if batches < 1:
        raise BadInput(f"expected at least 1 batch, got {batches}")
    if rows not in ("real", "response"):
        raise BadInput(f'expected rows to be "real" or "response", got {rows!r}')
    if recipe.teacher is None:
        raise BadInput("teacher: missing, and its heads are what is matched; add teacher: {model: ...}")
    student_heads, teacher_heads = _heads(recipe.student, recipe.teacher)
    _check_place(path)
    prepared = prepare(_without_objectives(recipe, recipe.teacher), display)
    with display.task("Loading the teacher"):
        teacher = _teacher(prepared, recipe.teacher)
    indices = _drawn(prepared, batches)
    with display.task(f"Comparing heads on {len(indices):,} samples") as advance:
        similarities, counted = _similarities(prepared, teacher, indices, rows, advance)
    found = HeadGroups(
        teacher=recipe.teacher.model,
        weights=weights_hash(recipe.teacher.model),
        data=prepared.data["train"]["sha256"],
        teacher_heads=teacher_heads,
        student_heads=student_heads,
        rows=rows,
        samples=counted,
        groups={layer: match_heads(each, student_heads) for layer, each in similarities.items()},
        similarities=similarities,
    )
    write_head_groups(path, found)
    return found


def _heads(ours: Student, theirs: Teacher) -> tuple[int, int]:
    """Of student and teacher; `BadInput` where there is nothing to match, or no map to compare."""
    configs = load_config(ours.model, "student", ours.config), load_config(theirs.model, "teacher")
    models = [empty_model(each) for each in configs]
    student, teacher = (model_shape(each, None, "") for each in models)
    try:
        check_structure(models[1], _requests(teacher.num_layers))
    except BadInput as error:
        raise BadInput(f"the heads of {theirs.model} have no maps that can be compared: {error}") from error
    _check_heads(student.num_heads, teacher.num_heads)
    return student.num_heads, teacher.num_heads


def _check_heads(student: int, teacher: int) -> None:
    if not 0 < student < teacher:
        raise BadInput(
            f"expected a teacher with more heads than the student, whose {student} heads face {teacher}: "
            + ("they match one to one" if student == teacher else "none can be merged")
            + ", so there is nothing to match"
        )


def _check_place(path: Path) -> None:
    """Comparing heads takes minutes; whether the file can be written is known before."""
    folder = next(each for each in path.absolute().parents if each.exists())
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(
            f"{path} cannot be written: expected a file in a folder that can be; name it with --output"
        )


def _without_objectives(recipe: Recipe, teacher: Teacher) -> Recipe:
    """The models and the training text alone: an objective may be waiting for the file that is written here."""
    changes = {
        "teacher": teacher.model_copy(update={"use": "live"}),
        "data": recipe.data.model_copy(update={"eval": None}),
        "objectives": [],
    }
    return recipe.model_copy(update=changes)


def _teacher(prepared: Prepared, choice: Teacher) -> LiveTeacher:
    use_cpu = prepared.recipe.training.get("use_cpu") or not torch.cuda.is_available()
    theirs = prepared.vocabularies.teacher
    teacher = LiveTeacher(load_teacher(choice), vocab_size=theirs.size, vocabulary=theirs.identity)
    teacher.to(torch.device("cpu" if use_cpu else "cuda"))
    teacher.prepare(_requests(teacher.shape.num_layers))
    return teacher


def _requests(layers: int) -> list[QueryKey]:
    return [QueryKey(layer) for layer in range(1, layers + 1)]


def _drawn(prepared: Prepared, batches: int) -> list[int]:
    """Numbers of samples drawn with the seed, of similar length side by side."""
    generator = torch.Generator().manual_seed(prepared.recipe.seed)
    wanted = batches * prepared.recipe.training["per_device_train_batch_size"]
    drawn = torch.randperm(len(prepared.train), generator=generator)[:wanted].tolist()
    return sorted(drawn, key=lambda index: prepared.train.lengths[index])


def _similarities(
    prepared: Prepared, teacher: LiveTeacher, indices: list[int], rows: Rows, advance: Advance
) -> tuple[dict[int, list[list[float]]], int]:
    """By layer the mean over samples that have such rows, `[H][H]`; and the number of those samples."""
    totals: dict[int, Tensor] = {}
    counted, done, asked = 0, 0, _requests(teacher.shape.num_layers)
    for batch in _batches(prepared, indices, next(teacher.model.parameters()).device):
        side = batch.teacher
        weights = side.row_weights(rows)
        for request, seen in teacher.answer(batch, asked).items():
            alike = _alike(seen, weights, side.attention_mask).sum(dim=0).cpu()
            totals[request.layer] = totals.get(request.layer, torch.zeros_like(alike)) + alike
        counted += int((weights > 0).any(dim=1).sum())
        done += len(weights)
        advance(done, len(indices))
    return {layer: (total / counted).tolist() for layer, total in totals.items()}, counted


def _alike(seen: QueryKeys, weights: Tensor, attention_mask: Tensor) -> Tensor:
    """`[B,H,H]`, zero where a sample has no rows."""
    return map_similarity(
        seen.query,
        seen.key,
        scaling=seen.scaling,
        weights=weights,
        key_mask=attention_mask,
        window=seen.window,
        softcap=seen.softcap,
    )


def _batches(prepared: Prepared, indices: list[int], device: torch.device) -> Iterator[Batch]:
    size, collate = prepared.recipe.training["per_device_train_batch_size"], collator(prepared)
    for start in range(0, len(indices), size):
        items = [prepared.train[index] for index in indices[start : start + size]]
        yield Batch.from_inputs({name: each.to(device) for name, each in collate(items).items()})
