"""From a prepared recipe to what is trained: student, teacher, objectives, with weights loaded and checked."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from stillroom.core.progress import Advance
from stillroom.data.collate import Collator
from stillroom.recipe.models import describe, load_student, load_teacher, weights_digest
from stillroom.recipe.other_teachers import sources
from stillroom.recipe.prepare import Prepared, make_objectives
from stillroom.recipe.schema import Recipe
from stillroom.taps.prepare import prepare as prepare_taps
from stillroom.taps.shape import model_shape
from stillroom.teachers.ensemble import EnsembleTeacher, Live
from stillroom.teachers.live import LiveTeacher, scan_weights
from stillroom.teachers.teacher import Teacher
from stillroom.training.pair import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Built:
    """What a run trains, and what run.json says of it."""

    recipe: Recipe
    student: "PreTrainedModel"
    teacher: Teacher | None
    pair: Pair
    described: dict[str, dict[str, Any]]
    """Facts about the weights of "student" and "teacher"."""
    files: dict[str, str]
    """Content hashes of what objectives have read."""

    @property
    def live(self) -> Live | None:
        """The teacher, where its weights are in memory."""
        return self.teacher if isinstance(self.teacher, Live) else None

    def listed(self) -> list[dict[str, Any]]:
        """The objectives as run.json lists them."""
        return [
            {
                "use": choice.use,
                "name": name,
                "weight": choice.weight,
                "additive": objective.additive,
                "terms": dict(objective.terms),
                "term_weights": dict.fromkeys(objective.terms, 1.0) | objective.term_weights(),
                "settings": choice.settings,
                **({} if choice.learning_rate is None else {"learning_rate": choice.learning_rate}),
                "files": {path: self.files[path] for path in objective.files()},
            }
            for choice, (name, objective) in zip(
                self.recipe.objectives, self.pair.objectives.items(), strict=True
            )
        ]

    def notes(self) -> list[str]:
        """What a person should know of the objectives before they are trained on."""
        sentences = []
        for name, objective in self.pair.objectives.items():
            if not objective.additive:
                sentences.append(
                    f"{name} is not additive: it is averaged over micro-batches, so it depends on how a step is split."
                )
            sentences += [f"{name}: {sentence}" for sentence in objective.notes()]
            if name in self.pair.rates and not any(each.requires_grad for each in objective.parameters()):
                sentences.append(f"{name} has no part to train; its learning_rate has no effect.")
        return sentences


def build(prepared: Prepared, advance: Advance) -> Built:
    """Load and check the weights, and set the objectives up on them. Raises `BadInput`."""
    recipe, described = prepared.recipe, {}
    teacher: Teacher | None = None
    if prepared.cached is not None:
        teacher = prepared.cached
        described["teacher"] = _describe_cached(prepared)
    elif recipe.teacher is not None:
        teacher = load_live(prepared)
        described["teacher"] = _describe_live(prepared, teacher)
    advance(1, 2)
    student = load_student(recipe.student, recipe.seed)
    scan_weights(student)
    described["student"] = describe(student, recipe.student.model, prepared.vocabularies.student.identity)
    pair = _pair(prepared, student, teacher)
    advance(2, 2)
    return Built(recipe, student, teacher, pair, described, prepared.files)


def load_live(prepared: Prepared) -> Live:
    """The teacher of the recipe, or all of its teachers as one, with their weights."""
    choice = prepared.recipe.teacher
    assert choice is not None
    theirs = prepared.vocabularies.teacher
    members = [
        LiveTeacher(
            load_teacher(choice.model_copy(update={"model": source})),
            vocab_size=theirs.size,
            vocabulary=theirs.identity,
            tokens=theirs.tokens,
            end_token=theirs.end_token,
        )
        for source in sources(choice)
    ]
    if len(members) == 1:
        return members[0]
    return EnsembleTeacher(members, combine=choice.combine, shares=choice.shares)


def teacher_digest(teacher: Live) -> str:
    """Of the weights in memory, those of several teachers one after the other."""
    digests = [weights_digest(each.model) for each in teacher.members]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _describe_live(prepared: Prepared, teacher: Live) -> dict[str, Any]:
    choice = prepared.recipe.teacher
    assert choice is not None
    members = [
        describe(each.model, source, prepared.vocabularies.teacher.identity)
        for each, source in zip(teacher.members, sources(choice), strict=True)
    ]
    if len(members) == 1:
        return members[0]
    return members[0] | {
        "source": " + ".join(sources(choice)),
        "model_type": " + ".join(each["model_type"] for each in members),
        "parameters": sum(each["parameters"] for each in members),
        "trained_parameters": sum(each["trained_parameters"] for each in members),
        "sha256": teacher_digest(teacher),
        "combine": choice.combine,
        "members": members,
    }


def _describe_cached(prepared: Prepared) -> dict[str, Any]:
    """What run.json says of a teacher whose weights were not loaded."""
    assert prepared.cached is not None
    assert prepared.recipe.teacher is not None
    manifest = prepared.cached.store.manifest
    return {
        "source": " + ".join(sources(prepared.recipe.teacher)),
        "model_type": prepared.cached.shape.model_type,
        "parameters": prepared.sizes["teacher"],
        "files_sha256": manifest.identity["teacher.weights"],
        "vocabulary": prepared.vocabularies.teacher.identity,
        "cache": str(prepared.cached.store.folder),
        "cache_precision": manifest.precision,
    }


def _pair(prepared: Prepared, student: "PreTrainedModel", teacher: Teacher | None) -> Pair:
    recipe = prepared.recipe
    objectives = make_objectives(recipe)
    choices = dict(zip(objectives, recipe.objectives, strict=True))
    weights = {name: each.weight for name, each in choices.items()}
    rates = {name: each.learning_rate for name, each in choices.items() if each.learning_rate is not None}
    ours = prepared.vocabularies.student
    shape = model_shape(student, ours.size, ours.identity, ours.tokens, ours.end_token)
    # Trainable parts of objectives start alike, whatever the student's own start drew.
    torch.manual_seed(recipe.seed)
    pair = Pair(student, objectives, weights, shape, teacher and teacher.shape, rates)
    prepare_taps(student, pair.student_requests)
    if teacher is not None:
        if isinstance(teacher, Live):
            teacher.check_distinct(student)
        teacher.prepare(pair.teacher_requests)
    return pair


def collator(prepared: Prepared) -> Collator:
    """Pads with the tokenizers' own padding tokens, where they have one."""
    ours, theirs = map(_padding, (prepared.tokenizer, prepared.teacher_tokenizer or prepared.tokenizer))
    return Collator(padding_id=ours, pad_to_multiple_of=8, teacher_padding_id=theirs)


def teacher_collator(prepared: Prepared) -> Collator:
    """For text as the teacher reads it."""
    return Collator(
        padding_id=_padding(prepared.teacher_tokenizer or prepared.tokenizer), pad_to_multiple_of=8
    )


def _padding(tokenizer: "PreTrainedTokenizerBase") -> int:
    ids = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return next(each for each in ids if each is not None)
