import os
import subprocess
import sys

import pytest

import stillroom
from stillroom.core.errors import BadInput
from stillroom.recipe.load import load_recipe

SOURCES = os.path.abspath(os.path.join(os.path.dirname(stillroom.__file__), ".."))

GOOD = """\
student: {model: org/small}
teacher: {model: org/big}
data:
  train: org/train
  eval: org/eval
objectives:
  - {use: hard.cross_entropy, weight: 0.3}
  - {use: logits.forward_kl, weight: 0.6, temperature: 2}
training: {max_steps: 2000, learning_rate: 5.0e-4}
seed: 10
output: runs/first
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write_recipe(text):
        (tmp_path / "recipe.yaml").write_text(text)
        return "recipe.yaml"

    return write_recipe


def refusal(*args, **kwargs):
    with pytest.raises(BadInput) as caught:
        load_recipe(*args, **kwargs)
    return str(caught.value).splitlines()


def test_file_flags_and_sets_in_this_order(write):
    recipe = load_recipe(write(GOOD), ["training.max_steps=7"], {"max_steps": 5, "seed": 3, "eval": None})
    assert recipe.training["max_steps"] == 7
    assert recipe.seed == 3
    assert recipe.data.eval == "org/eval"


def test_flags_alone_make_a_recipe():
    flags = {"student": "org/a", "data": "org/d", "objective": ["hard.cross_entropy"], "output": "runs/x"}
    recipe = load_recipe(flags=flags)
    assert recipe.teacher is None
    assert recipe.objectives[0].weight == 1.0


def test_the_resolved_recipe_loads_as_itself(write):
    recipe = load_recipe(write(GOOD))
    assert load_recipe(write(recipe.to_yaml())) == recipe


def test_all_errors_come_at_once_with_their_lines(write):
    path = write(
        "student: {model: org/small}\n"
        "data:\n"
        "  train: ./none.jsonl\n"
        "  max_lenght: 5\n"
        "objectives:\n"
        "  - {use: hard.cross_entropy}\n"
        "  - use: logits.forward_kl\n"
        "    temprature: 2\n"
        "training:\n"
        "  learning_rat: 1e-5\n"
        "  max_steps: 3\n"
        "  max_steps: 4\n"
        "output: recipe.yaml\n"
        "teacher: {model: org/big}\n"
    )
    here = path.replace("recipe.yaml", "")
    lines = refusal(path, ["trainig.max_steps=5"])
    assert lines[0] == "recipe.yaml:12: training.max_steps: given twice, first at line 11; keep one of them."
    assert lines[1:5] == [
        "recipe.yaml:4: data.max_lenght: unknown key; did you mean max_length?",
        "recipe.yaml:8: objectives.1.temprature: logits.forward_kl has no such setting; "
        "did you mean temperature?",
        "recipe.yaml:10: training.learning_rat: unknown key; did you mean learning_rate?",
        "--set trainig.max_steps=5: trainig: unknown key; did you mean training?",
    ]
    assert lines[5].startswith(f"recipe.yaml:3: data.train: there is no file {here}")
    assert lines[6].startswith("recipe.yaml:13: output: ")
    assert len(lines) == 7


def test_contradictions_are_found_beside_unknown_keys(write):
    lines = refusal(write(GOOD.replace("seed: 10", "sed: 10")), ["teacher=null"])
    assert lines == [
        "recipe.yaml:10: sed: unknown key; did you mean seed?",
        "--set teacher=null: teacher: missing, and logits.forward_kl compares with one; "
        "add teacher: {model: ...} (--teacher)",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "recipe.yaml is empty"),
        ("# only a comment\n", "recipe.yaml is empty"),
        ("- a\n", "expected keys such as student: and data: at the top, got ['a']"),
        ("just words\n", "expected keys such as"),
        ("a: b: c\n", "recipe.yaml:1:5: mapping values are not allowed here"),
    ],
)
def test_files_that_are_no_recipes(write, text, words):
    (line,) = refusal(write(text))
    assert words in line


def test_nothing_given_says_what_is_needed():
    assert refusal() == [
        "student: missing; add student: {model: ...} (--student)",
        "data: missing; add data: {train: ...} (--data)",
        "objectives: missing; add objectives: [{use: logits.forward_kl}] (--objective)",
        "output: missing; name the folder for the results (--output)",
    ]


def test_loading_needs_no_heavy_library(write):
    code = (
        "import sys\n"
        "from stillroom.recipe.load import load_recipe\n"
        "load_recipe(sys.argv[1]).to_yaml()\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    environment = os.environ | {"PYTHONPATH": SOURCES}
    command = [sys.executable, "-W", "error", "-c", code, write(GOOD)]
    subprocess.run(command, env=environment, check=True, timeout=60)
