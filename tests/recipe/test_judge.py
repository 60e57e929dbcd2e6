"""Marks of a model that was trained somewhere else."""

import pytest
from folders import CHAT, QUESTIONS, jsonl, model_folder, space_tokenizer, tiny_tokenizer

from stillroom.core.errors import BadInput
from stillroom.recipe.judge import judge


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("judge")
    model_folder(root / "student", seed=1, tokenizer=tiny_tokenizer(chat_template=CHAT))
    model_folder(root / "same", seed=3, tokenizer=tiny_tokenizer(chat_template=CHAT))
    model_folder(root / "other", seed=2, tokenizer=space_tokenizer([row["output"] for row in QUESTIONS]))
    jsonl(root / "data.jsonl", QUESTIONS)
    return root


def marks(world, **settings):
    return judge(
        str(world / "student"), str(world / "data.jsonl"), max_length=64, limit=4, prompts=0, **settings
    )


def test_all_that_can_be_measured_is(world):
    assert set(marks(world)) == {"loss", "perplexity", "bits_per_byte", "calibration_error"}
    assert {"agreement", "teacher_kl", "bits_per_byte"} <= set(marks(world, teacher=str(world / "same")))


def test_a_teacher_with_other_tokens_is_refused_with_what_to_do(world):
    with pytest.raises(BadInput, match=r"leave --teacher out.*bits_per_byte.*tokens differ"):
        marks(world, teacher=str(world / "other"))
