"""Searches: the space file, what is suggested, and whole searches with a stand-in for the training itself."""

import json
import math
import sys

import pytest
import yaml

from stillroom.compare import execute
from stillroom.core.errors import BadInput
from stillroom.recipe.load import load_recipe
from stillroom.search.search import search
from stillroom.search.space import read_space
from stillroom.search.study import Memory

pytest.importorskip("optuna")

BASE = {
    "student": {"model": "${assets}/python_docs/student", "init": "random"},
    "teacher": {"model": "${assets}/python_docs/teacher"},
    "objectives": [{"use": "logits.forward_kl", "temperature": 1.0}, "hard.cross_entropy"],
    "training": {"max_steps": 20, "learning_rate": 1e-3},
    "evaluation": {"prompts": 0},
}
SPACE = {
    "training.learning_rate": {"log": [1e-4, 1e-1]},
    "objectives.0.temperature": {"choice": [1.0, 2.0]},
}
GRID = {
    "objectives.0.temperature": {"choice": [1.0, 2.0, 4.0]},
    "objectives.0.weight, objectives.1.weight": {"choice": [0.5, 1.0]},
}
STAND_IN = """
import json, math, os, sys, yaml
recipe = yaml.safe_load(open(sys.argv[1]))
folder, training = recipe["output"], recipe["training"]
with open(os.path.join(os.path.dirname(folder), "made.txt"), "a") as made:
    made.write(os.path.basename(folder) + "\\n")
objective = recipe["objectives"][0]
if objective.get("temperature") == 4.0:
    sys.exit("starting\\nerror: it broke")
os.makedirs(folder, exist_ok=True)
loss = 5.0 + abs(math.log10(training["learning_rate"]) + 2.5) + 0.01 * objective.get("temperature", 1.0)
open(folder + "/metrics.jsonl", "w").close()
yaml.safe_dump(recipe, open(folder + "/recipe.yaml", "w"))
summary = {"name": "x", "exit": "done", "final": {"loss": loss, "agreement": 1 / loss}, "steps": training["max_steps"],
           "tokens": 10, "seconds": 1.0, "tokens_per_second": 10.0, "peak_memory_bytes": 2**20, "seed": recipe["seed"],
           "versions": {}}
json.dump(summary, open(folder + "/run.json", "w"))
"""


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    def command(recipe, resume=False):
        return [sys.executable, "-c", STAND_IN, str(recipe)]

    monkeypatch.setattr(execute, "command", command)


@pytest.fixture
def text(tmp_path):
    paths = tmp_path / "train.jsonl", tmp_path / "eval.jsonl"
    for path in paths:
        path.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    return {"train": str(paths[0]), "eval": str(paths[1]), "template": "plain"}


@pytest.fixture
def space(tmp_path, text):
    """A space file with changes, read."""

    def read(ranges=(), flags=None, base=None, **changes):
        path = tmp_path / "space.yaml"
        values = {"base": BASE | {"data": text} | (base or {}), "space": SPACE, "trials": 6} | changes
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return read_space(path, ranges, flags)

    return read


def suggestions(found):
    return [trial["values"] for trial in found.content["trials"]]


def made(folder):
    return (folder / "made.txt").read_text().split()


def quiet(_):
    pass


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"space": {"a.b": {"log": [1, 2], "uniform": [0, 1]}}},
            r"space.yaml:\d+: space.a.b: expected exactly one",
        ),
        ({"space": {"a.b": {"logg": [1, 2]}}}, r"space.a.b.logg: unknown key; did you mean log\?"),
        ({"space": {"a.b": {"log": [0, 2]}}}, r"begins above zero, got 0"),
        ({"space": {"a.b": {"uniform": [2, 1]}}}, r"low below high"),
        ({"space": {"a.b": {"int": [1, 9], "log": True, "step": 2}}}, r"do not go together"),
        ({"space": {"a.b": {"choice": [1], "step": 2}}}, r"stand beside int"),
        ({"space": {"a.b": {"choice": [[1], [2]]}}}, r"expected numbers, words"),
        ({"space": {"a.b": 5}}, r"space.a.b: expected a mapping of keys, got 5"),
        ({"space": {}}, r"space: expected at least one item"),
        ({"spaces": {}}, r"space.yaml:\d+: spaces: unknown key; did you mean space\?"),
        ({"sampler": "grid"}, r"learning_rate: a grid is made of choices"),
        ({"metric": "los"}, r"did you mean loss\?"),
        ({"space": {"seed": {"int": [1, 2]}}}, r"seed is set by the search"),
        ({"trial": {"output": "x"}}, r"output is set by the search"),
    ],
)
def test_a_malformed_space_is_one_sentence_with_its_line(space, changes, sentence):
    with pytest.raises(BadInput, match=sentence) as refused:
        space(**changes)
    assert len(str(refused.value).splitlines()) == 1


def test_flags_and_ranges_replace_those_of_the_file(space):
    read = space(["training.weight_decay={uniform: [0, 1]}"], {"trials": 3, "metric": None})
    assert (read.trials, read.metric, len(read.space)) == (3, "loss", 3)
    with pytest.raises(BadInput, match=r"^--metric: metric: expected loss"):
        space(flags={"metric": "los"})
    with pytest.raises(BadInput, match=r"--space training"):
        space(["training.weight_decay"])


def test_a_recipe_needs_ranges(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(BASE | {"data": text}))
    with pytest.raises(BadInput, match="is a recipe and says nothing of what to search; add --space"):
        read_space(path)
    read = read_space(path, ["training.learning_rate={log: [1e-5, 1e-3]}"])
    assert read.base["data"] == text
    assert read.space["training.learning_rate"].log == [1e-5, 1e-3]


@pytest.mark.parametrize(
    ("changes", "sets", "sentence"),
    [
        ({"space": {"training.learning_rat": {"uniform": [0, 1]}}}, [], "did you mean learning_rate"),
        ({"space": {"objectives.0.temperatur": {"uniform": [1, 2]}}}, [], "did you mean temperature"),
        ({"space": {"training.max_steps": {"choice": ["many"]}}}, [], "max_steps"),
        ({"space": {"objectives.0.temperature": {"uniform": [-1.0, 2]}}}, [], "temperature"),
        ({}, ["training.learning_rate=1e-3"], "this is searched"),
        ({}, ["seed=3"], "the search sets it"),
        (
            {
                "metric": "teacher_kl",
                "base": {"teacher": None, "objectives": ["hard.cross_entropy"]},
                "space": {"training.learning_rate": {"log": [1e-4, 1e-1]}},
            },
            [],
            "teacher_kl",
        ),
    ],
)
def test_what_makes_no_recipe_is_refused_before_the_first_trial(space, tmp_path, changes, sets, sentence):
    with pytest.raises(BadInput, match=sentence):
        search(space(**changes), tmp_path / "out", sets=sets, say=quiet)
    assert not (tmp_path / "out" / "made.txt").exists()


def test_without_held_out_text_nothing_is_searched(space, tmp_path, text):
    alone = {"data": {"train": text["train"], "template": "plain"}}
    with pytest.raises(BadInput, match=r"nothing to measure on; give data.eval"):
        search(space(base=alone), tmp_path / "out", say=quiet)


# --- whole searches -----------------------------------------------------------------------------------------------


def test_the_best_trial_is_found_written_and_ready_to_distil(space, tmp_path):
    out = tmp_path / "out"
    found = search(
        space(trial={"training.max_steps": 7}), out, sets=["training.weight_decay=0.25"], say=quiet
    )
    assert found.exit == "done"
    values = [trial["value"] for trial in found.content["trials"]]
    assert found.content["best"]["value"] == min(values)
    assert all(trial["steps"] == 7 for trial in found.content["trials"])
    for trial in found.content["trials"]:
        rate, temperature = trial["values"].values()
        assert trial["value"] == pytest.approx(5 + abs(math.log10(rate) + 2.5) + 0.01 * temperature)
        assert 1e-4 <= rate <= 1e-1
    best = load_recipe(out / "best.yaml")
    assert best.training["learning_rate"] == found.content["best"]["values"]["training.learning_rate"]
    assert (best.training["max_steps"], best.training["weight_decay"]) == (20, 0.25)
    assert f"--set training.learning_rate={best.training['learning_rate']}" in found.content["words"]
    assert "must not be a test set" in (out / "search.md").read_text()
    page = (out / "search.html").read_text()
    assert "must not be a test set" in page
    assert page.count("<svg") == 3


def test_one_seed_makes_one_search_and_another_another(space, tmp_path):
    first = search(space(), tmp_path / "a", say=quiet)
    again = search(space(), tmp_path / "b", say=quiet)
    other = search(space(seed=11), tmp_path / "c", say=quiet)
    assert suggestions(first) == suggestions(again)
    assert suggestions(first) != suggestions(other)
    rates = [each["training.learning_rate"] for each in suggestions(first)]
    assert len(set(rates)) == len(rates), "a fresh sampler for each trial must not repeat itself"


def test_more_trials_extend_a_search_and_go_on_as_if_it_had_not_ended(space, tmp_path):
    whole = search(space(trials=12), tmp_path / "whole", say=quiet)
    search(space(trials=11), tmp_path / "parts", say=quiet)
    parts = search(space(trials=12), tmp_path / "parts", say=quiet)
    assert suggestions(parts) == suggestions(whole)
    assert len(made(tmp_path / "parts")) == 12
    assert (
        search(space(trials=12), tmp_path / "parts", say=quiet).content["trials"] == parts.content["trials"]
    )
    assert len(made(tmp_path / "parts")) == 12
    assert parts.content["importance"].keys() == SPACE.keys()


def test_a_trial_that_was_running_is_run_again_and_not_counted(space, tmp_path):
    out = tmp_path / "out"
    whole = search(space(), tmp_path / "whole", say=quiet)
    lost = Memory(space(), out, []).next(2)  # a process that asked and was killed
    found = search(space(), out, say=quiet)
    assert [each.number for each in lost] == [0, 1]
    assert suggestions(found) == suggestions(whole)
    assert [trial["number"] for trial in found.content["trials"]] == [0, 1, 2, 3, 4, 5]


def test_a_journal_that_was_cut_short_and_a_trial_half_suggested_do_no_harm(space, tmp_path):
    out = tmp_path / "out"
    whole = search(space(trials=3), out, say=quiet)
    journal = out / "search.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    Memory(space(trials=4), out, []).next(1)
    asked = journal.read_bytes().splitlines(keepends=True)[len(lines) :]
    assert len(asked) == 4, "one line for this process, one for the trial, one for each setting"
    journal.write_bytes(b"".join([*lines, *asked[:3], asked[3][:20]]))
    journal.with_name("search.journal.lock").touch()
    found = search(space(trials=4), out, say=quiet)
    assert suggestions(found)[:3] == suggestions(whole)
    assert len(found.content["trials"]) == 4


def test_a_grid_is_walked_once_whatever_the_order_and_failures_are_kept(space, tmp_path):
    found = search(space(space=GRID, sampler="grid", trials=50), tmp_path / "out", jobs=2, say=quiet)
    seen = [tuple(values.values()) for values in suggestions(found)]
    assert sorted(seen) == [(t, w) for t in (1.0, 2.0, 4.0) for w in (0.5, 1.0)]
    failed = [trial for trial in found.content["trials"] if trial["value"] is None]
    assert [trial["values"]["objectives.0.temperature"] for trial in failed] == [4.0, 4.0]
    assert {trial["reason"] for trial in failed} == {"error: it broke"}
    assert found.exit == "done"
    assert "2 of 6 trials failed." in found.content["cautions"]
    again = search(space(space=GRID, sampler="grid", trials=50), tmp_path / "out", jobs=2, say=quiet)
    assert again.content["trials"] == found.content["trials"], "reasons outlive the session"
    recipe = load_recipe(tmp_path / "out" / "best.yaml")
    assert recipe.objectives[0].weight == recipe.objectives[1].weight
    assert recipe.objectives[0].weight in (0.5, 1.0)


def test_part_of_a_grid_is_a_sample_of_it(space, tmp_path):
    found = search(space(space=GRID, sampler="grid", trials=3), tmp_path / "out", say=quiet)
    assert len(found.content["trials"]) == 3
    assert len({values["objectives.0.temperature"] for values in suggestions(found)}) > 1


def test_a_search_of_which_every_trial_fails_says_so(space, tmp_path):
    only = {"objectives.0.temperature": {"choice": [4.0]}}
    found = search(space(space=only, trials=2), tmp_path / "out", say=quiet)
    assert (found.exit, found.content["best"]) == ("failed", None)
    assert not (tmp_path / "out" / "best.yaml").exists()
    assert "No trial came to a value" in (tmp_path / "out" / "search.md").read_text()


def test_agreement_is_maximized(space, tmp_path):
    found = search(space(metric="agreement"), tmp_path / "out", say=quiet)
    assert found.content["best"]["value"] == max(trial["value"] for trial in found.content["trials"])


def test_another_search_in_the_folder_is_refused(space, tmp_path):
    search(space(trials=1), tmp_path / "out", say=quiet)
    with pytest.raises(BadInput, match="holds a search with another sampler, seed"):
        search(space(sampler="random", seed=3), tmp_path / "out", say=quiet)
    with pytest.raises(BadInput, match="another --set"):
        search(space(), tmp_path / "out", sets=["training.weight_decay=0.5"], say=quiet)


def test_the_edge_of_a_range_is_named(space, tmp_path):
    far = {"training.learning_rate": {"log": [1e-1, 1.001e-1]}, "training.max_steps": {"int": [5, 6]}}
    found = search(space(space=far, trials=2), tmp_path / "out", say=quiet)
    assert any("training.max_steps" in each and "edge" in each for each in found.content["cautions"])


def test_a_stop_keeps_what_is_done(space, tmp_path):
    def stop_at_third(text):
        if text.startswith("trial 2 of"):
            raise KeyboardInterrupt

    found = search(space(), tmp_path / "out", say=stop_at_third)
    assert (found.exit, len(found.content["trials"])) == ("stopped", 2)
    whole = search(space(), tmp_path / "whole", say=quiet)
    assert suggestions(search(space(), tmp_path / "out", say=quiet)) == suggestions(whole)


@pytest.mark.slow
def test_a_real_search_of_two_trials(tmp_path, monkeypatch):
    monkeypatch.undo()
    rows = [{"prompt": f"What is {i}?\n", "completion": f"{i} is a number."} for i in range(40)]
    for name in ("train", "eval"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = {"train": str(tmp_path / "train.jsonl"), "eval": str(tmp_path / "eval.jsonl"), "template": "plain"}
    recipe = BASE | {"data": text, "output": "unused"}
    recipe["training"] = {
        "max_steps": 5,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "per_device_train_batch_size": 2,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    space = read_space(
        path, ["training.learning_rate={log: [1e-5, 1e-3]}"], {"trials": 2, "sampler": "random"}
    )
    found = search(space, tmp_path / "out", jobs=2, say=quiet)
    assert found.exit == "done", (tmp_path / "out" / "search.md").read_text()
    assert all(trial["steps"] == 5 for trial in found.content["trials"])
    best = load_recipe(tmp_path / "out" / "best.yaml")
    assert [each.use for each in best.objectives] == ["logits.forward_kl", "hard.cross_entropy"]
    assert not (tmp_path / "out" / "trial-000" / "student").exists(), "weights of trials are not kept"
