import pytest
from pydantic import ValidationError

from stillroom.recipe.schema import Recipe
from stillroom.recipe.sentences import describe, place, sections


def sentences(values, origins=None):
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(values)
    return describe(caught.value, origins or {})


def test_every_error_is_one_sentence_with_the_path():
    got = sentences(
        {
            "student": {"model": 5, "init": "pretraind", "lora": {"dropout": 1}},
            "teacher": "org/big",
            "data": {"train": "x", "max_length": "long", "limit": 0, "lenght": 3},
            "objectives": [],
            "learning_rate": 1,
            "evaluation": {"metrics": "loss", "sampling_temperature": float("inf")},
            "zzz": 1,
            "seed": 2**32,
        }
    )
    assert got == [
        "student.model: expected text, got 5",
        "student.init: expected pretrained or random, got 'pretraind'; did you mean pretrained?",
        "student.lora.dropout: expected less than 1, got 1",
        "teacher: expected a mapping of keys, got 'org/big'",
        "data.max_length: expected a whole number, got 'long'",
        "data.limit: expected at least 1, got 0",
        "data.lenght: unknown key; did you mean max_length?",
        "objectives: expected at least one item, got []",
        "evaluation.metrics: expected a list, got 'loss'",
        "evaluation.sampling_temperature: expected a finite number, got inf",
        "seed: expected less than 4.29497e+09, got 4294967296",
        "output: missing; name the folder for the results (--output)",
        "learning_rate: unknown key; did you mean training.learning_rate?",
        "zzz: unknown key; known here: data, evaluation, objectives, output, seed, student, "
        "teacher, tokens, training",
    ]


def test_the_place_is_that_of_the_nearest_key_that_was_given():
    origins = {(): "r.yaml", ("data",): "r.yaml:3", ("data", "eval"): "--eval"}
    assert place(("data", "eval"), origins) == "--eval: data.eval: "
    assert place(("data", "train"), origins) == "r.yaml:3: data.train: "
    assert place(("output",), origins) == "r.yaml: output: "
    assert place((), origins) == "r.yaml: "
    assert place(("output",), {}) == "output: "


def test_sections_are_found_in_the_schema():
    found = dict(sections())
    assert ("student", "lora") in found
    assert "max_length" in found[("data",)]
    assert "learning_rate" in found[("training",)]
