import pytest
from pydantic import ValidationError

from stillroom.recipe.schema import Recipe


def values(**changes):
    return {
        "student": {"model": "org/small"},
        "teacher": {"model": "org/big"},
        "data": {"train": "org/train", "eval": "org/eval"},
        "objectives": ["logits.forward_kl"],
        "output": "runs/first",
    } | changes


ALONE = {"teacher": None, "objectives": ["hard.cross_entropy"]}
BLIND = {"data": {"train": "org/train"}}


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"teacher": None}, ("teacher",), "logits.forward_kl compares with one"),
        ({"objectives": [{"use": "logits.forward_kl", "weight": 0}]}, ("objectives",), "all weights are 0"),
        (
            {"data": {"train": "x", "max_length": 64, "max_prompt_length": 64}},
            ("data", "max_prompt_length"),
            "64",
        ),
        (BLIND | {"evaluation": {"metrics": ["loss"]}}, ("evaluation", "metrics"), "nothing to measure on"),
        (ALONE | {"evaluation": {"metrics": ["teacher_kl"]}}, ("evaluation", "metrics"), "there is none"),
        ({"evaluation": {"metrics": ["rouge_l"], "prompts": 0}}, ("evaluation", "metrics"), "prompts is 0"),
        ({"evaluation": {"metrics": ["loss", "loss"]}}, ("evaluation", "metrics"), "given twice"),
        ({"training": {"bf16": True, "fp16": True}}, ("training", "fp16"), "exclude each other"),
        (BLIND | {"training": {"eval_strategy": "epoch"}}, ("training", "eval_strategy"), "data.eval"),
        ({"training": {"max_steps": 0}}, ("training", "max_steps"), "0 steps"),
        ({"training": {"num_train_epochs": 0}}, ("training", "num_train_epochs"), "0 epochs"),
        (
            {"teacher": {"model": "t", "others": ["u"]}, "objectives": ["dual_space.dskd"]},
            ("teacher", "others"),
            "dual_space.dskd map the states of one teacher",
        ),
        ({"data": {"train": "x", "spans": "spacy"}}, ("data", "spans", "pipeline"), "name an installed one"),
        (
            {"data": {"train": "x", "spans": {"use": "windows", "pipeline": "en_core_web_sm"}}},
            ("data", "spans", "pipeline"),
            "only spacy has pipelines",
        ),
        ({"student": {"model": "x", "init": "random", "lora": {}}}, ("student", "lora"), "random weights"),
        ({"student": {"model": "x", "config": {"num_layers": 2}}}, ("student", "config"), "use init: random"),
    ],
)
def test_contradictions_are_refused_at_the_key_to_change(changes, path, words):
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(values(**changes))
    (error,) = caught.value.errors()
    assert error["loc"] == path
    assert words in error["msg"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"max_steps": 5, "save_steps": 500}}, "save_steps is 500 and the run has 5 steps"),
        ({"training": {"max_steps": 5, "eval_steps": 6}}, "eval_steps is 6"),
        ({"training": {"max_steps": 5, "logging_steps": 6}}, "nothing is logged"),
        ({"training": {"max_steps": 5, "warmup_steps": 5}}, "the warm-up never ends"),
        ({"training": {"max_steps": 5, "num_train_epochs": 2}}, "num_train_epochs has no effect"),
        (BLIND, "not measured"),
        ({"data": {"train": "org/a", "eval": "org/a", "eval_split": "train"}}, "nothing about unseen text"),
        ({"data": {"train": "a.jsonl", "eval": "a.jsonl"}}, "nothing about unseen text"),
        ({"teacher": {"model": "org/small"}}, "same model"),
        (
            {"objectives": ["logits.forward_kl", {"use": "logits.forward_kl", "weight": 0}]},
            "forward_kl#2 has weight 0",
        ),
    ],
)
def test_doubts_are_sentences(changes, words):
    (sentence,) = Recipe.model_validate(values(**changes)).warnings
    assert words in sentence


@pytest.mark.parametrize("steps", [1, 5, 10_000])
def test_defaults_raise_no_doubt(steps):
    assert Recipe.model_validate(values(training={"max_steps": steps})).warnings == []


def test_an_interval_of_another_strategy_does_not_matter():
    training = {"max_steps": 5, "save_steps": 500, "save_strategy": "no"}
    assert Recipe.model_validate(values(training=training)).warnings == []


def test_two_splits_of_one_data_set_are_not_the_same_text():
    for splits in ({}, {"train_split": "train[500:]", "eval_split": "train[:500]"}):
        data = {"train": "org/a", "eval": "org/a", **splits}
        assert not any("unseen text" in each for each in Recipe.model_validate(values(data=data)).warnings)
