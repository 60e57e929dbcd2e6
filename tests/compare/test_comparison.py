"""The comparison runner: its file, its statistics, and whole comparisons, with a stand-in for the training itself."""

import json
import math
import os
import random
import sys
from pathlib import Path

import pytest
import yaml
from folders import QUESTIONS, jsonl, model_folder
from reference.paired_statistics import paired_interval, student_mass

from stillroom.compare import command as paired
from stillroom.compare import execute
from stillroom.compare.paired_difference import paired_difference, student_quantile
from stillroom.compare.plan import fixed_rate, read_plan, resolve
from stillroom.compare.schedule import choose, schedule, state
from stillroom.core.errors import BadInput
from stillroom.core.record import read_summary

BASE = {
    "student": {"model": "${assets}/python_docs/student", "init": "random"},
    "teacher": {"model": "${assets}/python_docs/teacher"},
    "data": {"train": "python-docs", "template": "plain"},
    "training": {"max_steps": 20, "learning_rate": 1e-3},
    "evaluation": {"prompts": 0},
}
PLAN = {
    "about": "A check.",
    "base": BASE,
    "against": "KD",
    "seeds": [10, 11, 12],
    "variants": {
        "hard labels": {"objectives": ["hard.cross_entropy"]},
        "KD": {"objectives": ["logits.forward_kl"]},
    },
}
STAND_IN = """
import json, os, sys, yaml
recipe = yaml.safe_load(open(sys.argv[1]))
folder, seed, training = recipe["output"], recipe["seed"], recipe["training"]
with open(os.path.join(os.path.dirname(folder), "made.txt"), "a") as made:
    made.write(os.path.basename(folder) + "\\n")
use = recipe["objectives"][0]["use"]
if use == "logits.renyi":
    sys.exit("starting\\n\\nerror: it broke\\n")
if use == "logits.reverse_kl":
    import time
    time.sleep(60)
os.makedirs(folder, exist_ok=True)
loss = {"hard.cross_entropy": 5.0, "logits.forward_kl": 4.0}[use] + 0.1 * seed + abs(training["learning_rate"] - 2e-3)
tokens = 1000 + training["max_steps"] + 10 * seed
rows = [{"step": s, "tokens": tokens * s // 20, "seconds": s / 2, "split": "eval", "loss": loss + (20 - s) / 10}
        for s in (0, 10, 20)]
rows.append({"step": 20, "tokens": tokens, "seconds": 10, "split": "train", "loss": 1, "measure/a/b": seed / 10})
open(folder + "/metrics.jsonl", "w").writelines(json.dumps(row) + "\\n" for row in rows)
yaml.safe_dump(recipe, open(folder + "/recipe.yaml", "w"))
marks = {"loss": 3.0} if recipe["evaluation"]["baselines"] else {}
summary = {"name": use, "exit": "done", "final": {"loss": loss, "agreement": 1 / loss}, "teacher": marks,
           "baseline": marks, "steps": 20, "tokens": tokens, "seconds": 10.0, "tokens_per_second": 100.0,
           "peak_memory_bytes": 2**20, "seed": seed, "versions": {"torch": "2"}}
json.dump(summary, open(folder + "/run.json", "w"))
"""


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """A comparison with the stand-in: changes of the plan and words of the command line to an exit code."""
    monkeypatch.setattr(execute, "command", lambda recipe: [sys.executable, "-c", STAND_IN, str(recipe)])
    monkeypatch.setattr(paired.signal, "signal", lambda *_: None)

    def run(*words, **changes):
        return paired.main([str(written(tmp_path, **changes)), "--output", str(tmp_path / "runs"), *words])

    return run


def written(folder, **changes):
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN | changes, sort_keys=False))
    return path


def made(folder):
    return (folder / "runs" / "made.txt").read_text().split()


def results(folder):
    return json.loads((folder / "runs" / "comparison.json").read_text())


# --- statistics ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 101])
def test_quantiles_enclose_their_share_of_the_density(freedom):
    assert student_mass(student_quantile(freedom), freedom) == pytest.approx(0.95, abs=1e-7)


def test_quantiles_are_those_of_printed_tables():
    printed = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 30: 2.042}
    assert all(student_quantile(freedom) == pytest.approx(t, abs=5e-4) for freedom, t in printed.items())
    with pytest.raises(ValueError, match="at least one degree"):
        student_quantile(0)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_paired_difference_is_the_plain_loop(n):
    rolls = random.Random(n)
    xs, ys = ({seed: rolls.gauss(5, 1) for seed in range(n)} for _ in range(2))
    got = paired_difference(xs, ys | {99: 0.0})
    expected = paired_interval([*xs.values()], [*ys.values()], student_quantile(n - 1))
    assert (got.mean, got.low, got.high, got.wins) == pytest.approx(expected)
    assert got.n == n
    assert paired_difference(xs, ys, lower_is_better=False).wins == n - got.wins


def test_one_pair_has_no_interval_and_none_has_no_difference():
    alone = paired_difference({1: 2.0, 2: 9.0}, {1: 2.0})
    assert (alone.mean, alone.low, alone.high, alone.wins, alone.n) == (0.0, None, None, 0, 1)
    assert paired_difference({1: 2.0}, {2: 2.0}) is None


def test_the_largest_rate_among_equals_is_chosen():
    assert choose({1e-3: 5.0, 2e-3: 5.009, 4e-3: 5.011}) == 2e-3


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"against": "KDD"}, r"plan.yaml:\d+: against: no variant 'KDD'; known here: KD, hard labels"),
        ({"variant": {}}, r"plan.yaml:\d+: variant: unknown key; did you mean variants\?"),
        ({"seeds": []}, r"seeds: expected at least one item"),
        ({"seeds": [-1]}, r"seeds.0: expected at least 0, got -1"),
        ({"rates": [0.0]}, r"rates.0: expected more than 0"),
        ({"variants": {"KD": {"seed": 3}}}, r"seed is set by the comparison"),
        ({"trial": {"output": "x"}}, r"output is set by the comparison"),
        ({"variants": {"KD": {"objectives": ["hard.cros"]}}}, r"variant 'KD': objectives.0"),
        ({"variants": {"KD": {"training.max_step": 3}}}, r"variant 'KD': .*training.max_step: unknown key"),
        ({"variants": PLAN["variants"] | {"kd": {}}}, r"rename it"),
        ({"base": 5}, r"plan.yaml:\d+: base: expected the path of a recipe, or a recipe, got 5"),
        ({"base": "absent.yaml"}, r"cannot read the recipe"),
        ({"base": BASE | {"data": {"train": "x.jsonl"}}}, r"x.jsonl"),
    ],
)
def test_a_bad_file_is_refused_before_any_run(tmp_path, changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        schedule(read_plan(written(tmp_path, **changes)), tmp_path / "runs")


def test_words_that_would_do_nothing_are_refused(tmp_path):
    with pytest.raises(BadInput, match="--set seed: the comparison sets it for every run; use --seeds"):
        schedule(read_plan(written(tmp_path)), tmp_path, sets=["seed=3"])


def test_another_size_brings_its_own_rates(tmp_path):
    paper = {"base": "big.yaml", "seeds": [1, 1, 2]}
    (tmp_path / "big.yaml").write_text(yaml.safe_dump(BASE | {"training": {"max_steps": 500}}))
    path = written(tmp_path, rates=[1e-3], paper=paper)
    plan = read_plan(path, "paper")
    assert (plan.seeds, plan.rates, plan.base["training"]) == ([1, 2], [], {"max_steps": 500})
    with pytest.raises(BadInput, match="no section paper"):
        read_plan(written(tmp_path), "paper")


def test_later_settings_win(tmp_path):
    variants = {
        "KD": {"objectives": ["logits.forward_kl"], "training.max_steps": 3, "objectives.0.weight": 0.5}
    }
    plan = read_plan(
        written(tmp_path, variants=variants, set={"training.max_steps": 2, "training.warmup_steps": 7})
    )
    recipe = resolve(plan, "KD", 5, tmp_path, {"training.weight_decay": 0.25}, ["training.weight_decay=0.5"])
    picked = [recipe.training[key] for key in ("max_steps", "warmup_steps", "weight_decay", "learning_rate")]
    assert picked == [3, 7, 0.5, 1e-3]
    assert (recipe.seed, recipe.output, recipe.objectives[0].weight) == (5, str(tmp_path), 0.5)
    assert Path(recipe.student.model, "tokenizer.json").exists()
    assert "${assets}" in plan.base["student"]["model"]


def test_a_rate_that_is_given_is_not_searched(tmp_path):
    variants = {
        "KD": {"training.learning_rate": 0.1},
        "whole": {"training": {"learning_rate": 0.1}},
        "free": {},
    }
    plan = read_plan(written(tmp_path, variants=variants, rates=[1e-3]))
    assert [fixed_rate(plan, name, []) for name in variants] == [True, True, False]
    assert fixed_rate(plan, "free", ["training.learning_rate=3"])


# --- schedule -----------------------------------------------------------------------------------------------------


def test_runs_go_seed_by_seed_and_one_marks_the_teacher(tmp_path):
    wanted = schedule(read_plan(written(tmp_path)), tmp_path, seeds=[11, 12])
    runs = wanted.runs({"KD": 0.5})
    assert [(run.variant, run.seed) for run in runs] == [
        (name, seed) for seed in (11, 12) for name in ("hard labels", "KD")
    ]
    assert [run.folder.name for run in runs if run.recipe.evaluation.baselines] == ["kd-seed11"]
    assert [run.recipe.training["learning_rate"] for run in runs[:2]] == [1e-3, 0.5]


def test_variants_with_another_teacher_mark_their_own(tmp_path):
    alone = {"objectives": ["hard.cross_entropy"], "teacher": None}
    plan = read_plan(written(tmp_path, variants={"alone": alone, **PLAN["variants"]}))
    runs = schedule(plan, tmp_path).runs({})
    assert [run.folder.name for run in runs if run.recipe.evaluation.baselines] == [
        "alone-seed10",
        "kd-seed10",
    ]


def test_only_keeps_the_variant_that_all_are_paired_with(tmp_path):
    plan = read_plan(written(tmp_path))
    assert schedule(plan, tmp_path, only=["hard labels"]).variants == ["hard labels", "KD"]
    assert schedule(plan, tmp_path, only=["KD"]).variants == ["KD"]
    with pytest.raises(BadInput, match="--only soft: no such variant"):
        schedule(plan, tmp_path, only=["soft"])


# --- whole comparisons --------------------------------------------------------------------------------------------


def test_a_comparison_from_file_to_table(compare, tmp_path, capsys):
    assert compare("--jobs", "2") == 0
    assert sorted(made(tmp_path)) == sorted(
        f"{n}-seed{s}" for n in ("kd", "hard_labels") for s in (10, 11, 12)
    )
    found = results(tmp_path)
    difference = found["variants"]["hard labels"]["difference"]
    assert difference["loss"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0, "wins": 0, "n": 3})
    assert difference["agreement"]["wins"] == 0
    assert found["variants"]["KD"]["mean"]["loss"] == pytest.approx(4.0 + 1.1 + 1e-3)
    assert found["variants"]["KD"]["deviation"]["loss"] == pytest.approx(0.1)
    assert found["variants"]["KD"]["measures"] == {"a/b": pytest.approx(1.1)}
    assert [each["steps"] for each in found["variants"]["KD"]["to_target"]] == pytest.approx([20] * 3)
    assert {each["steps"] for each in found["variants"]["hard labels"]["to_target"]} == {None}
    assert found["marks"] == {"teacher": {"loss": 3.0}, "student before training": {"loss": 3.0}}
    assert (found["cautions"], found["failed"]) == ([], {})
    text = (tmp_path / "runs" / "comparison.md").read_text()
    assert "| hard labels | +1 [+1, +1], 0/3 |" in text
    assert "never reached" in text
    assert "`a/b`" in text
    page = (tmp_path / "runs" / "comparison.html").read_text()
    assert page.count('class="curve') == 2
    assert "[6/6]" in capsys.readouterr().out


def test_what_is_done_is_not_made_again_and_what_differs_is(compare, tmp_path, capsys):
    assert compare("--seeds", "10", "--only", "KD") == 0
    assert compare("--seeds", "10") == 0
    assert made(tmp_path) == ["kd-seed10", "hard_labels-seed10"]
    assert "1 of 2 runs are there already" in capsys.readouterr().out
    variants = PLAN["variants"] | {"KD": {"objectives": ["logits.forward_kl"], "training.weight_decay": 0.5}}
    assert compare("--seeds", "10", variants=variants) == 0
    assert made(tmp_path)[2:] == ["kd-seed10"]
    assert "kd-seed10: made with another training.weight_decay" in capsys.readouterr().out


def test_a_setting_that_is_new_since_then_has_its_default(compare, tmp_path):
    compare("--seeds", "10")
    path = tmp_path / "runs" / "kd-seed10" / "recipe.yaml"
    values = yaml.safe_load(path.read_text())
    del values["training"]["warmup_steps"], values["objectives"][0]["temperature"]
    path.write_text(yaml.safe_dump(values))
    compare("--seeds", "10")
    assert len(made(tmp_path)) == 2
    path.write_text(yaml.safe_dump(values | {"gone": 1}))
    compare("--seeds", "10")
    assert made(tmp_path)[2:] == ["kd-seed10"]


def test_an_unfinished_run_is_made_anew(compare, tmp_path):
    compare("--seeds", "10")
    path = tmp_path / "runs" / "kd-seed10" / "run.json"
    path.write_text(path.read_text().replace('"done"', '"stopped"'))
    compare("--seeds", "10")
    assert made(tmp_path) == ["hard_labels-seed10", "kd-seed10", "kd-seed10"]


def test_rates_are_tried_on_the_first_seed_and_the_best_is_used(compare, tmp_path):
    variants = PLAN["variants"] | {
        "hard labels": {"objectives": ["hard.cross_entropy"], "training.learning_rate": 9.0}
    }
    code = compare("--seeds", "11", rates=[2e-3, 0.5], trial={"training.max_steps": 5}, variants=variants)
    assert code == 0
    assert made(tmp_path) == ["trial-kd-lr0.002", "trial-kd-lr0.5", "hard_labels-seed11", "kd-seed11"]
    trial = yaml.safe_load((tmp_path / "runs" / "recipes" / "trial-kd-lr0.5.yaml").read_text())
    assert (trial["seed"], trial["training"]["max_steps"], trial["evaluation"]["metrics"]) == (
        10,
        5,
        ["loss"],
    )
    found = results(tmp_path)
    assert [found["variants"][name]["learning_rate"] for name in ("KD", "hard labels")] == [2e-3, 9.0]
    assert found["trials"]["KD"] == pytest.approx({"0.002": 5.0, "0.5": 5.498})
    assert "learning-rate trials" in (tmp_path / "runs" / "comparison.md").read_text()


def test_a_failed_run_is_named_and_the_others_go_on(compare, tmp_path):
    variants = {"broken": {"objectives": ["logits.renyi"]}, **PLAN["variants"]}
    assert compare("--seeds", "10", "11", variants=variants) == 1
    found = results(tmp_path)
    assert found["failed"] == {f"broken-seed{seed}": "error: it broke" for seed in (10, 11)}
    assert len(found["variants"]["KD"]["runs"]) == 2
    text = (tmp_path / "runs" / "comparison.md").read_text()
    assert "**FAILED: broken-seed10:** error: it broke" in text
    assert "| broken | — | — |" in text


def test_a_variant_whose_trials_all_fail_is_left_out(compare, tmp_path):
    variants = {"broken": {"objectives": ["logits.renyi"]}, **PLAN["variants"]}
    assert compare("--seeds", "10", variants=variants, rates=[1e-3]) == 1
    assert "broken-seed10" not in made(tmp_path)
    assert results(tmp_path)["failed"] == {"trial-broken-lr0.001": "error: it broke"}


def test_unequal_tokens_are_said_loudly(compare, tmp_path):
    variants = PLAN["variants"] | {"KD": {"objectives": ["logits.forward_kl"], "training.max_steps": 30}}
    assert compare("--seeds", "10", variants=variants) == 0
    text = (tmp_path / "runs" / "comparison.md").read_text()
    assert "**NOT AT EQUAL TOKENS: with seed 10 these were trained: hard labels 1,120, KD 1,130.**" in text


def test_a_loss_that_is_not_finite_is_said_and_no_number(compare, tmp_path):
    compare("--seeds", "10", "11")
    path = tmp_path / "runs" / "kd-seed11" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"final": {"loss": math.nan}}))
    assert compare("--seeds", "10", "11") == 0
    found = results(tmp_path)
    assert "WITHOUT A FINITE HELD-OUT LOSS" in found["cautions"][0]
    assert found["variants"]["hard labels"]["difference"]["loss"]["n"] == 1


def test_files_that_changed_between_runs_are_said(compare, tmp_path):
    compare("--seeds", "10", "11")
    path = tmp_path / "runs" / "kd-seed11" / "run.json"
    path.write_text(path.read_text().replace('"torch": "2"', '"torch": "3"'))
    compare("--seeds", "10", "11")
    assert any("The version of torch is not the same" in each for each in results(tmp_path)["cautions"])


def test_a_cached_teacher_is_known_by_its_files(compare, tmp_path):
    compare("--seeds", "10")
    for name, known in (("kd", "files_sha256"), ("hard_labels", "sha256")):
        path = tmp_path / "runs" / f"{name}-seed10" / "run.json"
        teacher = {"teacher": {"source": "big", known: "abc"}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"models": teacher}))
    assert compare("--seeds", "10") == 0
    assert results(tmp_path)["hashes"] == {"teacher": "abc"}
    assert results(tmp_path)["cautions"] == []


def test_stopping_ends_the_children_and_keeps_what_is_done(compare, tmp_path, monkeypatch):
    started, pressed = [], []
    popen, sleep = execute.subprocess.Popen, execute.time.sleep

    def start(*words, **settings):
        started.append(popen(*words, **settings))
        return started[-1]

    def interrupt(seconds):
        if len(started) == 2 and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(execute.subprocess, "Popen", start)
    monkeypatch.setattr(execute.time, "sleep", interrupt)
    variants = PLAN["variants"] | {"slow": {"objectives": ["logits.reverse_kl"]}}
    variants = {"KD": variants["KD"], "slow": variants["slow"]}
    assert compare("--seeds", "10", variants=variants) == 130
    assert started[1].returncode not in (0, None)
    with pytest.raises(ProcessLookupError):
        os.kill(started[1].pid, 0)
    found = results(tmp_path)
    assert found["cautions"] == ["NOT COMPLETE: 1 of 2 runs are done."]
    assert len(found["variants"]["KD"]["runs"]) == 1


def test_stopping_before_anything_is_done_writes_nothing(compare, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(paired, "execute", lambda runs, *_: interrupt() if runs else {})
    assert compare("--seeds", "10") == 130
    assert not (tmp_path / "runs" / "comparison.json").exists()
    assert compare("--seeds", "10", rates=[1e-3]) == 130


def test_a_dry_run_only_tells(compare, tmp_path, capsys):
    assert compare("--dry-run", "--seeds", "10", rates=[1e-3]) == 0
    said = capsys.readouterr().out
    assert "trial-kd-lr0.001: missing" in said
    assert "hard_labels-seed10: missing" in said
    assert not (tmp_path / "runs").exists()


def test_bad_input_is_a_sentence(compare, capsys):
    assert compare(against="nothing") == 2
    assert "error: " in capsys.readouterr().err


def test_no_path_of_this_machine_is_in_the_command(compare, tmp_path):
    teacher = f"teacher.model={Path(paired.__file__).parents[1] / 'assets' / 'python_docs' / 'teacher'}"
    compare("--seeds", "10", "--set", teacher, "--jobs", "2", "--only", "hard labels")
    assert results(tmp_path)["command"] == (
        "python -m stillroom.compare.command .../plan.yaml --jobs 2 --only 'hard labels' --seeds 10 "
        "--set teacher.model=.../teacher"
    )


@pytest.mark.slow
def test_real_runs_are_comparable(tmp_path):
    """Through `stillroom distill`: what it writes is what the runner reads, and a second call makes nothing."""
    folders = {
        role: str(model_folder(tmp_path / role, seed=i)) for i, role in enumerate(("student", "teacher"))
    }
    rows = str(jsonl(tmp_path / "rows.jsonl", QUESTIONS))
    base = {
        "student": {"model": folders["student"]},
        "teacher": {"model": folders["teacher"]},
        "data": {"train": rows, "eval": rows, "max_length": 64, "eval_limit": 8},
        "training": {
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "save_strategy": "no",
        },
        "evaluation": {"prompts": 0},
    }
    path = written(tmp_path, base=base)
    words = [str(path), "--output", str(tmp_path / "runs"), "--seeds", "10", "--jobs", "2"]
    assert paired.main(words) == 0
    found = results(tmp_path)
    assert found["cautions"] == []
    assert set(found["marks"]) == {"teacher", "student before training"}
    for variant in found["variants"].values():
        assert math.isfinite(variant["mean"]["teacher_kl"])
    wanted = schedule(read_plan(path), tmp_path / "runs", seeds=[10])
    assert [state(run) for run in wanted.runs({})] == ["done", "done"]
    tokens = [read_summary(run.folder).tokens for run in wanted.runs({})]
    assert tokens[0] == tokens[1]
