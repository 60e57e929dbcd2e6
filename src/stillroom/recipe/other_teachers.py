"""Further teachers of a recipe (`teacher.others`), held against the student before a weight is loaded."""

from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.core.signals import Request
from stillroom.recipe.models import check_causal, empty_model, load_config, load_tokenizer
from stillroom.recipe.schema import Recipe, Teacher
from stillroom.recipe.vocabularies import match_with

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

ROLE = "teacher.others"
IDLE = "The objectives ask what one teacher says alone, so those under teacher.others are loaded and asked nothing."


def sources(teacher: Teacher) -> list[str]:
    """All of them, `teacher.model` first."""
    return [teacher.model, *teacher.others]


def read_others(
    recipe: Recipe, tokenizer: "PreTrainedTokenizerBase", student: "PreTrainedConfig"
) -> "list[PreTrainedConfig]":
    """Their configurations. `BadInput` names the one that cannot be a teacher or has another vocabulary."""
    others = recipe.teacher.others if recipe.teacher is not None else []
    return [_read(source, recipe, tokenizer, student) for source in others]


def _read(
    source: str, recipe: Recipe, tokenizer: "PreTrainedTokenizerBase", student: "PreTrainedConfig"
) -> "PreTrainedConfig":
    from stillroom.data.chat import check_same_chat_template

    config = load_config(source, ROLE)
    check_causal(config, source, ROLE)
    theirs = load_tokenizer(source, ROLE)
    try:
        match_with(tokenizer, theirs, student, config)
        if recipe.data.template == "chat":
            check_same_chat_template(tokenizer, theirs)
    except BadInput as error:
        raise BadInput(f"{ROLE}: {source}: {error}") from error
    return config


def try_together(
    teacher: Teacher,
    configs: "list[PreTrainedConfig]",
    vocab_size: int,
    requests: "Collection[Request]",
    sizes: "Mapping[str, int]",
) -> tuple[int, list[str]]:
    """Parameters of all teachers, and notes. `BadInput` where their heads cannot be put together.

    `configs` are those of `teacher.others`, `sizes["teacher"]` the parameters of `teacher.model`.
    """
    from stillroom.taps.head import head_weights
    from stillroom.teachers.ensemble import TOGETHER, combined_head, normalized

    if not configs:
        return sizes["teacher"], []
    models = [empty_model(config) for config in [load_config(teacher.model, "teacher"), *configs]]
    asked = any(isinstance(each, TOGETHER) for each in requests)
    if asked:
        heads = [head_weights(model, vocab_size) for model in models]
        combined_head(heads, teacher.combine, normalized(teacher.shares, len(models)))
    count = sum(each.numel() for model in models for each in model.parameters())
    return count, [] if asked else [IDLE]
