"""What a recipe comes to where student and teacher do not share a vocabulary: what is said, and what is refused."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from stillroom.alignment.vocabulary_map import vocabulary_map
from stillroom.core.errors import BadInput
from stillroom.core.objective import Objective
from stillroom.recipe.contradictions import NEEDS_TEACHER
from stillroom.recipe.schema import Recipe
from stillroom.recipe.vocabularies import Vocabularies, rows_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def rows_without_tokens(
    vocabularies: Vocabularies, configs: "Mapping[str, PreTrainedConfig]", others: "list[PreTrainedConfig]"
) -> list[str]:
    """Sentences about rows of heads that take no part."""
    rows = [rows_of(each) for each in (*configs.values(), *others)]
    if vocabularies.are_two:
        pairs = zip(("student", "teacher"), rows, (vocabularies.student, vocabularies.teacher), strict=True)
        return [
            f"The {role}'s head has {have} rows and its tokenizer {each.size} ids; the rows beyond take no part."
            for role, have, each in pairs
            if have > each.size
        ]
    if len(set(rows)) == 1:
        return []
    theirs = " and ".join(map(str, rows[1:]))
    return [
        f"The heads have {rows[0]} (student) and {theirs} (teacher) rows over one tokenizer; "
        f"{'both' if not others else 'all'} are trimmed to the {vocabularies.student.size} that it defines."
    ]


def on_two_vocabularies(recipe: Recipe, vocabularies: Vocabularies) -> list[str]:
    """What a recipe comes to where tokens cannot be compared one by one: said, and refused where it cannot be."""
    assert recipe.teacher is not None
    if recipe.teacher.others:
        raise BadInput(
            "teacher.others: several teachers answer as one over one vocabulary, and that of teacher.model is not the "
            f"student's; give one teacher, or teachers with the student's tokenizer. {vocabularies.difference}"
        )
    best = str(recipe.training.get("metric_for_best_model", "")).removeprefix("eval_")
    if best in NEEDS_TEACHER:
        raise BadInput(
            f"training.metric_for_best_model: {best} compares token by token, and student and teacher have two "
            "vocabularies; take loss"
        )
    shared = len(vocabulary_map(*vocabularies.tables))
    ours, theirs = (len(each) for each in vocabularies.tables)
    notes = [
        f"Student and teacher have two vocabularies, of {ours:,} and {theirs:,} ids; {shared:,} tokens are the same "
        "bytes in both. Each model reads the text through its own tokenizer, so losses compare by byte, not by token."
    ]
    if lost := " and ".join(name for name in recipe.evaluation.metrics or [] if name in NEEDS_TEACHER):
        notes.append(f"{lost} compare token by token and are not measured over two vocabularies.")
    return notes


def check_two(name: str, objective: Objective, vocabularies: Vocabularies) -> None:
    """`BadInput` where an objective for one vocabulary is given two, with those that would do."""
    if objective.two_vocabularies or not vocabularies.are_two:
        return
    from stillroom.objectives import names

    able = ", ".join(each for each in names() if _compares_two(each))
    raise BadInput(
        f"{name} compares token by token and needs one vocabulary, but those of student and teacher differ; "
        f"choose one that compares two: {able}. How they differ: {vocabularies.difference}"
    )


def wants_tokens(recipe: Recipe, objectives: Iterable[Objective]) -> bool:
    """Whether an objective or a metric may ask what tokens are in bytes: a second for a large vocabulary."""
    asked = "bits_per_byte" in (recipe.evaluation.metrics or [])
    asked = asked or any(each.units for each in objectives)
    return asked or any(_compares_two(choice.use) for choice in recipe.objectives)


def _compares_two(name: str) -> bool:
    """Hard labels go with two vocabularies, but look at one."""
    from stillroom.objectives import find

    return find(name).two_vocabularies and not name.startswith("hard.")
