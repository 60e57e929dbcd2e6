import pytest
from pydantic import ValidationError

from stillroom.recipe import strict_yaml
from stillroom.recipe.schema import ObjectiveChoice, Recipe


def recipe(**changes):
    values = {
        "student": {"model": "org/small"},
        "teacher": {"model": "org/big"},
        "data": {"train": "org/train", "eval": "org/eval"},
        "objectives": ["logits.forward_kl"],
        "output": "runs/first",
    }
    return Recipe.model_validate(values | changes)


def test_defaults():
    got = recipe()
    assert (got.student.init, got.student.dtype, got.student.lora) == ("pretrained", "float32", None)
    assert (got.teacher.use, got.teacher.dtype) == ("live", "auto")
    assert (got.data.template, got.data.max_length, got.data.on_bad_record) == ("alpaca", 512, "refuse")
    assert (got.tokens.use, got.seed) == ("dataset", 10)
    assert (got.evaluation.prompts, got.evaluation.sampling_temperature) == (100, 0.0)
    assert got.training["learning_rate"] == 5e-5
    assert got.training["eval_strategy"] == "steps"
    assert got.warnings == []


def test_a_bare_name_is_an_objective_and_settings_lie_beside_its_weight():
    got = recipe(
        objectives=["hard.cross_entropy", {"use": "logits.forward_kl", "weight": "0.5", "temperature": 2}]
    )
    first, second = got.objectives
    assert (first.use, first.weight, first.settings) == ("hard.cross_entropy", 1.0, {})
    assert second.weight == 0.5
    assert second.settings == {"temperature": 2, "scale_by_temperature_squared": True, "top_k": None}
    assert ObjectiveChoice(use="logits.renyi", alpha=0.3).settings["alpha"] == 0.3


def test_repeated_objectives_get_numbers():
    got = recipe(
        objectives=["logits.forward_kl", "hard.cross_entropy", "logits.forward_kl", "logits.forward_kl"]
    )
    assert got.objective_names == [
        "logits.forward_kl",
        "hard.cross_entropy",
        "logits.forward_kl#2",
        "logits.forward_kl#3",
    ]


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        ({}, ["loss", "perplexity", "agreement", "teacher_kl", "rouge_l"]),
        ({"evaluation": {"prompts": 0}}, ["loss", "perplexity", "agreement", "teacher_kl"]),
        ({"teacher": None, "objectives": ["hard.cross_entropy"]}, ["loss", "perplexity", "rouge_l"]),
        ({"data": {"train": "org/train"}}, []),
        ({"evaluation": {"metrics": ["rouge_l"]}}, ["rouge_l"]),
        ({"data": {"train": "python-docs"}}, ["loss", "perplexity", "agreement", "teacher_kl", "rouge_l"]),
    ],
)
def test_metrics_are_those_that_can_be_measured(changes, metrics):
    assert recipe(**changes).evaluation.metrics == metrics


def test_python_docs_brings_its_own_held_out_text():
    assert recipe(data={"train": "python-docs"}).data.eval == "python-docs"


def test_empty_sections_are_their_defaults():
    assert recipe(training=None, evaluation=None, tokens=None) == recipe()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training": {"max_steps": 7, "learning_rate": 1e-5, "fsdp_config": {"a": [1]}}},
        {"student": {"model": "1e5", "init": "pretrained", "lora": {"target_modules": ["q", "v"]}}},
        {"output": "no", "teacher": None, "objectives": ["hard.cross_entropy"]},
        {"data": {"train": "python-docs", "max_prompt_length": 100, "limit": 5}},
    ],
)
def test_the_resolved_recipe_reads_back_as_itself(changes):
    first = recipe(**changes)
    again = Recipe.model_validate(strict_yaml.parse(first.to_yaml(), "r.yaml").values)
    assert again == first
    assert again.to_yaml() == first.to_yaml()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"seed": True}, ("seed",)),
        ({"seed": -1}, ("seed",)),
        ({"seed": 1.5}, ("seed",)),
        ({"objectives": []}, ("objectives",)),
        ({"objectives": [{"use": "hard.cross_entropy", "weight": -0.1}]}, ("objectives", 0, "weight")),
        (
            {"objectives": [{"use": "hard.cross_entropy", "weight": float("nan")}]},
            ("objectives", 0, "weight"),
        ),
        ({"objectives": [{"use": "logits.renyi", "alhpa": 1}]}, ("objectives", 0, "alhpa")),
        ({"objectives": [{"weight": 1}]}, ("objectives", 0, "use")),
        ({"data": {"train": "x", "max_length": 7}}, ("data", "max_length")),
        ({"data": {"train": ""}}, ("data", "train")),
        ({"teacher": {"model": "x", "use": "cached"}}, ("teacher", "cache")),
        ({"teacher": {"model": "x", "use": "served"}}, ("teacher", "use")),
        ({"teacher": {"model": "x", "use": ["live"]}}, ("teacher", "use")),
        ({"tokens": {"use": "student"}}, ("tokens", "use")),
        ({"student": {"model": "x", "lora": {"r": 0}}}, ("student", "lora", "r")),
        ({"student": {"model": "x", "lora": {"target_modules": []}}}, ("student", "lora", "target_modules")),
        ({"evaluation": {"metrics": ["bleu"]}}, ("evaluation", "metrics", 0)),
        ({"evaluation": {"sampling_temperature": -1}}, ("evaluation", "sampling_temperature")),
        ({"training": {"learning_rat": 1}}, ("training", "learning_rat")),
        ({"training": [1]}, ("training",)),
        ({"output": ""}, ("output",)),
        ({"outptu": "x"}, ("outptu",)),
    ],
)
def test_what_is_out_of_range_is_refused_at_its_path(changes, path):
    with pytest.raises(ValidationError) as caught:
        recipe(**changes)
    assert [error["loc"] for error in caught.value.errors()] == [path]


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert recipe(output="~/runs").output == "/home/someone/runs"
