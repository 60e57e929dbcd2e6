import pytest

from stillroom.core.errors import BadInput
from stillroom.recipe.overrides import apply_flags, apply_sets
from stillroom.recipe.strict_yaml import parse

FILE = """\
teacher: null
objectives:
  - hard.cross_entropy
  - {use: logits.forward_kl, temperature: 2}
training: {max_steps: 5}
seed: 1
"""


def after(*sets, **flags):
    document = parse(FILE, "r.yaml")
    apply_flags(document, flags)
    apply_sets(document, sets)
    return document


def test_values_are_yaml_and_paths_reach_into_lists():
    document = after(
        "training.learning_rate=1e-5",
        "objectives.1.temperature=3",
        "teacher.model=a=b",
        "evaluation.metrics=[loss, rouge_l]",
        "data.eval=",
    )
    assert document.values["training"] == {"max_steps": 5, "learning_rate": 1e-5}
    assert document.values["objectives"][1]["temperature"] == 3
    assert document.values["teacher"] == {"model": "a=b"}
    assert document.values["evaluation"]["metrics"] == ["loss", "rouge_l"]
    assert document.values["data"] == {"eval": None}
    assert document.origins[("objectives", 1, "temperature")] == "--set objectives.1.temperature=3"
    assert document.origins[("teacher",)] == "--set teacher.model=a=b"
    assert document.origins[("training", "max_steps")] == "r.yaml:5"


def test_a_bare_objective_takes_settings():
    document = after("objectives.0.weight=0.5")
    assert document.values["objectives"][0] == {"use": "hard.cross_entropy", "weight": 0.5}


def test_the_last_one_wins_and_inner_places_are_forgotten():
    document = after("training={max_steps: 1}", "training.max_steps=2", max_steps=9)
    assert document.values["training"] == {"max_steps": 2}
    document = after("objectives=[logits.renyi]")
    assert ("objectives", 1, "temperature") not in document.origins


def test_flags_set_the_keys_of_the_same_meaning():
    document = after(
        student="s", teacher="t", data="d", eval=None, objective=["a", "b"], output="o", max_steps=3, seed=0
    )
    assert document.values["student"] == {"model": "s"}
    assert document.values["teacher"] == {"model": "t"}
    assert document.values["data"] == {"train": "d"}
    assert document.values["objectives"] == ["a", "b"]
    assert document.values["training"] == {"max_steps": 3}
    assert (document.values["output"], document.values["seed"]) == ("o", 0)
    assert document.origins[("training", "max_steps")] == "--max-steps"
    assert after(objective=[]).values["objectives"][0] == "hard.cross_entropy"
    with pytest.raises(KeyError, match="no flag"):
        after(colour="red")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.max_steps", "expected path=value"),
        ("=3", "expected path=value"),
        ("a..b=3", "expected path=value"),
        ("objectives.2.weight=1", "objectives has positions 0 to 1, so there is no objectives.2"),
        ("objectives.weight=1", "objectives is a list; name a position, such as objectives.0.weight"),
        ("seed.x=1", "seed is 1, which has no key x inside"),
        ("seed=[1", "--set seed=[1: "),
        ("seed={a: 1, a: 2}", "given twice"),
        ("seed=*x", "anchors and aliases"),
    ],
)
def test_what_cannot_be_set_is_refused(text, words):
    with pytest.raises(BadInput) as caught:
        after(text)
    assert words in str(caught.value)
