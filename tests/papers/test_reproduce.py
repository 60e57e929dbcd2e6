"""A reproduction: ours beside the published numbers, whether they point the same way, and a whole one."""

import json
import sys

import pytest
import yaml

from stillroom.compare import execute
from stillroom.core.errors import BadInput
from stillroom.numerics.paired_difference import Difference
from stillroom.reproduce.catalog import catalog, find
from stillroom.reproduce.listing import listing
from stillroom.reproduce.page import page
from stillroom.reproduce.published import Published
from stillroom.reproduce.reproduce import reproduce
from stillroom.reproduce.side_by_side import direction, not_found, side_by_side

PUBLISHED = {
    "source": "A paper, Table 1",
    "columns": {
        "PPL": {"better": "lower", "ours": "loss", "paper": ["tests", "dolly", "perplexity"]},
        "steps": {"better": "lower", "ours": ["to_target", "steps"]},
        "MB": {"better": "lower", "ours": "peak_memory_bytes", "times": 1e-6},
        "accuracy": {"better": "higher", "paper": ["tests", "mmlu", "acc"]},
    },
    "rows": {
        "teacher": {"PPL": 9.0},
        "KD": {"PPL": 20.0, "steps": 54, "accuracy": 18.0},
        "ours": {"PPL": 15.0, "steps": 23, "accuracy": 21.0},
        "sampling": {"PPL": 30.0},
    },
    "not_run": {"sampling": "it samples"},
    "cannot_compare": ["The paper does not say of which text."],
}


def variant(losses, steps):
    runs = [
        {"seed": seed, "loss": loss, "peak_memory_bytes": 2e6, "tests": {"dolly": {"perplexity": 2 * loss}}}
        for seed, loss in losses.items()
    ]
    return {"runs": runs, "to_target": [{"seed": seed, "steps": step} for seed, step in steps.items()]}


CONTENT = {
    "against": "KD",
    "marks": {"teacher": {"loss": 2.0}},
    "tests": {"marks": {"teacher": {"dolly": {"perplexity": 8.0}}}},
    "variants": {
        "KD": variant({1: 5.0, 2: 5.2, 3: 5.1}, {1: 40, 2: 41, 3: 42}),
        "ours": variant({1: 4.0, 2: 4.3, 3: 4.1}, {1: 50, 2: 49, 3: None}),
    },
}


def pairs(scale="small", content=CONTENT, **changes):
    found = side_by_side(content, Published.model_validate(PUBLISHED | changes), scale)
    return {(pair.column, pair.variant): pair for pair in found}


def test_ours_stand_beside_the_published_numbers_in_their_unit():
    found = pairs()
    ppl = found["PPL", "ours"]
    assert (ppl.published, ppl.published_difference) == (15.0, -5.0)
    assert ppl.mean == pytest.approx((4.0 + 4.3 + 4.1) / 3)
    assert ppl.difference.mean == pytest.approx(-29 / 30)
    assert ppl.same_direction == "yes"
    assert (found["PPL", "teacher"].published, found["PPL", "teacher"].mean) == (9.0, 2.0)
    assert found["PPL", "sampling"].same_direction == "not run: it samples"
    assert found["MB", "ours"].mean == 2.0
    assert found["PPL", "KD"].same_direction == ""


def test_a_run_that_never_got_there_has_no_number_and_the_others_are_paired():
    steps = pairs()["steps", "ours"]
    assert (steps.mean, steps.difference.n) == (49.5, 2)
    assert steps.published_difference == -31
    assert steps.same_direction == "cannot tell: our interval holds zero"  # two seeds, 10 and 8


def test_a_column_that_only_exams_can_stand_beside_waits_for_the_papers_scale():
    small = pairs()["accuracy", "ours"]
    assert (small.mean, small.same_direction) == (None, "cannot tell: nothing to hold it against")
    paper = pairs("paper")["PPL", "ours"]
    assert paper.mean == pytest.approx(2 * (4.0 + 4.3 + 4.1) / 3)
    assert pairs("paper")["PPL", "teacher"].mean == 8.0


def test_differences_can_be_to_a_row_of_their_own():
    found = pairs(against="ours")
    assert found["PPL", "KD"].published_difference == 5.0
    assert found["PPL", "KD"].same_direction == "yes"
    assert found["PPL", "ours"].difference is None


def test_a_number_that_no_run_has_is_said_loudly():
    columns = {"a": {"better": "lower", "ours": "loss"}, "b": {"better": "higher", "ours": "speed"}}
    published = Published.model_validate({"source": "S", "columns": columns})
    runs = [{"seed": 1, "loss": 2.0}]
    pairs = side_by_side(
        {"variants": {"KD": {"runs": runs}}, "against": "KD", "marks": {}}, published, "tiny"
    )
    assert not_found(pairs, ran=True) == ["NOTHING OF OURS beside 'b': no run has speed."]
    assert not_found(pairs, ran=False) == []
    assert "**NOTHING OF OURS beside 'b'" in page("t", published, pairs, "KD", "tiny", not_found(pairs, True))


@pytest.mark.parametrize(
    ("published", "mean", "low", "high", "verdict"),
    [
        (-1.0, -2.0, -3.0, -1.0, "yes"),
        (1.0, -2.0, -3.0, -1.0, "no"),
        (1.0, 2.0, 1.0, 3.0, "yes"),
        (-1.0, -2.0, -3.0, 0.0, "cannot tell: our interval holds zero"),
        (0.0, -2.0, -3.0, -1.0, "cannot tell: the paper prints no difference"),
        (1.0, -2.0, None, None, "cannot tell: one seed"),
        (None, -2.0, -3.0, -1.0, "cannot tell: nothing to hold it against"),
    ],
)
def test_a_direction_is_known_only_outside_the_noise(published, mean, low, high, verdict):
    assert direction(published, Difference(mean=mean, low=low, high=high, wins=0, n=3)) == verdict


def test_the_list_has_a_line_for_everything_and_what_it_takes():
    text = listing(catalog())
    for entry in catalog():
        assert f"  {entry.name} " in text
    assert all(len(line) < 220 for line in text.splitlines())
    assert "tiny 4, small 20" in text


def test_a_name_that_is_not_there_gets_a_hint(tmp_path):
    with pytest.raises(BadInput, match=r"sharp/tabel6: no such experiment; did you mean sharp/table6\?"):
        find("sharp/tabel6")
    with pytest.raises(BadInput, match=r"stillroom reproduce sharp/opt --show > opt\.yaml"):
        reproduce("sharp/opt", output=tmp_path)
    with pytest.raises(BadInput, match="has no size but the paper's"):
        reproduce("sharp/table5", "small", output=tmp_path)
    with pytest.raises(BadInput, match="--scale medium: expected tiny, small, paper"):
        reproduce("sharp/table6", "medium", output=tmp_path)


# --- a whole one --------------------------------------------------------------------------------------------------

STAND_IN = """
import json, os, sys, yaml
recipe = yaml.safe_load(open(sys.argv[1]))
folder, seed = recipe["output"], recipe["seed"]
os.makedirs(folder, exist_ok=True)
assert recipe["data"]["train"].endswith("train.jsonl"), recipe["data"]
loss = {"hard.cross_entropy": 5.0, "logits.forward_kl": 4.0}[recipe["objectives"][0]["use"]] + 0.01 * seed ** 2
rows = [{"step": s, "tokens": s, "seconds": s, "split": "eval", "loss": loss + (20 - s) / 10} for s in (0, 20)]
open(folder + "/metrics.jsonl", "w").writelines(json.dumps(row) + "\\n" for row in rows)
yaml.safe_dump(recipe, open(folder + "/recipe.yaml", "w"))
summary = {"name": "x", "exit": "done", "final": {"loss": loss}, "teacher": {"loss": 3.0}, "baseline": {}, "steps": 20,
           "tokens": 20, "seconds": 20.0, "tokens_per_second": 1.0, "peak_memory_bytes": 2**20, "seed": seed,
           "versions": {}}
json.dump(summary, open(folder + "/run.json", "w"))
"""
EXPERIMENT = {
    "about": "The paper says that KD helps.",
    "base": {
        "student": {"model": "${assets}/python_docs/student", "init": "random"},
        "teacher": {"model": "${assets}/python_docs/teacher"},
        "data": {"train": "python-docs", "template": "plain"},
        "objectives": ["hard.cross_entropy"],
        "training": {"max_steps": 20},
        "evaluation": {"prompts": 0},
    },
    "against": "labels",
    "seeds": [1, 2, 3],
    "variants": {"labels": {}, "KD": {"objectives": ["logits.forward_kl"]}},
    "tiny": {"seeds": [1, 2], "set": {"training.max_steps": 5}},
    "published": {
        "source": "A paper",
        "columns": {"PPL": {"better": "lower", "ours": "loss"}},
        "rows": {"labels": {"PPL": 20}, "KD": {"PPL": 15}},
        "cannot_compare": ["No text is named."],
    },
}


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    """An experiment file of one's own, a stand-in for its trainings, and a harvest that counts itself."""
    monkeypatch.setattr(
        execute, "command", lambda recipe, resume=False: [sys.executable, "-c", STAND_IN, str(recipe)]
    )
    harvests = []
    monkeypatch.setattr("stillroom.reproduce.text_once.harvest", lambda: harvests.append(1))

    def write_harvest(_, folder):
        folder.mkdir(parents=True)
        for name in ("train", "eval"):
            (folder / f"{name}.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')

    monkeypatch.setattr("stillroom.reproduce.text_once.write_harvest", write_harvest)
    path = tmp_path / "mine" / "x.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    return path, harvests


def quiet(_):
    pass


def test_a_reproduction_writes_the_comparison_ours_and_theirs(experiment, tmp_path):
    path, harvests = experiment
    made = reproduce(str(path), "small", tmp_path / "out", jobs=2, say=quiet)
    assert made.exit == "done"
    assert "| KD | 4.047 ± 0.04 | -1 [-1, -1] | 15 | -5 | yes |" in made.text.replace("\u2212", "-")
    assert "No text is named." in made.text
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert content["published"] == {"labels": {"PPL": 20}, "KD": {"PPL": 15}}
    assert content["reproduction"]["pairs"][1]["same_direction"] == "yes"
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "ours 4.047 (loss), same direction" in page
    assert "No text is named." in page
    assert (tmp_path / "out" / "reproduction.md").read_text() == made.text
    again = reproduce(str(path), "small", tmp_path / "out", say=quiet)
    assert again.text == made.text
    assert harvests == [1], "the text is read once, whatever runs and repetitions there are"


def test_tiny_changes_what_it_names(experiment, tmp_path):
    path, _ = experiment
    made = reproduce(str(path), "tiny", tmp_path / "out", say=quiet)
    assert made.content["seeds"] == [1, 2]
    recipe = yaml.safe_load((tmp_path / "out" / "kd-seed2" / "recipe.yaml").read_text())
    assert recipe["training"]["max_steps"] == 5
    assert "Tiny scale" in made.text


def test_bad_settings_are_refused_before_the_text_is_read(experiment, tmp_path):
    path, harvests = experiment
    with pytest.raises(BadInput, match="did you mean max_steps"):
        reproduce(str(path), "small", tmp_path / "out", sets=["training.max_step=3"], say=quiet)
    assert harvests == []


def test_what_is_written_can_be_compared_without_this_room(experiment, tmp_path):
    from stillroom.compare.plan import read_plan

    path, _ = experiment
    reproduce(str(path), "tiny", tmp_path / "out", say=quiet)
    plan = read_plan(tmp_path / "out" / "comparison.yaml")
    assert plan.base["data"]["train"].endswith("python_docs/train.jsonl")
    assert list(plan.variants) == ["labels", "KD"]
