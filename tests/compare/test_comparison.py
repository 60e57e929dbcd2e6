"""Whole comparisons, with stand-ins for training and exams: from what is typed to the files beside each other."""

import csv
import json
import math
import os
from pathlib import Path

import pytest
import yaml
from folders import QUESTIONS, jsonl, model_folder
from stand_in import BASE, PLAN, written

from stillroom.cli import compare as verb
from stillroom.compare import compare as whole
from stillroom.compare import exams, processes
from stillroom.compare.lock import locked
from stillroom.compare.plan import read_plan
from stillroom.compare.schedule import schedule, state
from stillroom.core.errors import BadInput
from stillroom.core.record import read_summary

KD = {"objectives": ["logits.forward_kl"]}


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_comparison_from_file_to_table(compare):
    got = compare("--jobs", "2")
    assert got.code == 0
    assert sorted(got.made()) == sorted(f"{n}-seed{s}" for n in ("kd", "hard_labels") for s in (10, 11, 12))
    found = got.found
    difference = found["variants"]["hard labels"]["difference"]
    assert difference["loss"] | {"p": 0, "p_holm": 0} == pytest.approx(
        {"mean": 1.0, "low": 1.0, "high": 1.0, "wins": 0, "n": 3, "p": 0, "p_holm": 0}
    )
    assert difference["loss"]["p"] < 1e-6
    assert difference["agreement"]["wins"] == 0
    assert found["variants"]["KD"]["mean"]["loss"] == pytest.approx(4.0 + 1.1 + 1e-3)
    assert found["variants"]["KD"]["deviation"]["loss"] == pytest.approx(0.1)
    assert found["variants"]["KD"]["measures"] == {"a/b": pytest.approx(1.1)}
    assert [each["steps"] for each in found["variants"]["KD"]["to_target"]] == pytest.approx([20] * 3)
    assert {each["steps"] for each in found["variants"]["hard labels"]["to_target"]} == {None}
    assert found["marks"] == {"teacher": {"loss": 3.0}, "student before training": {"loss": 3.0}}
    assert (found["cautions"], found["failed"], found["answers"], found["jobs"]) == ([], {}, [], 2)
    assert "| hard labels | +1 [+1, +1], 0/3, p" in got.text
    assert "never reached" in got.text
    assert "`a/b`" in got.text
    assert "2 runs at a time, so seconds are not those of a run alone" in got.text
    assert "<html" in (got.folder / "compare.html").read_text()
    rows = list(csv.DictReader((got.folder / "compare.csv").read_text().splitlines()))
    assert [(row["variant"], row["seed"]) for row in rows[:2]] == [
        ("hard labels", "10"),
        ("hard labels", "11"),
    ]
    assert float(rows[3]["loss"]) == pytest.approx(5.001)
    assert "[6/6]" in got.err


def test_the_result_is_json_where_that_is_asked(compare):
    got = compare("--seeds", "10,", "--json")
    assert json.loads(got.out) == got.found


def test_what_is_done_is_not_made_again_and_what_differs_is(compare):
    assert compare("--seeds", "1", "--only", "KD").code == 0
    got = compare("--seeds", "1")
    assert got.made() == ["kd-seed10", "hard_labels-seed10"]
    assert "1 of 2 runs are there already" in got.err
    got = compare("--seeds", "1", variants=PLAN["variants"] | {"KD": KD | {"training.weight_decay": 0.5}})
    assert got.made()[2:] == ["kd-seed10"]
    assert "kd-seed10: made with another training.weight_decay; it is made anew" in got.err


def test_marks_that_another_seed_has_measured_are_missed(compare):
    assert "teacher" in compare("--seeds", "10,11").found["marks"]
    fewer = compare("--seeds", "11,")
    assert len(fewer.made()) == 4, "nothing is made again"
    assert fewer.found["marks"] == {}
    assert "measured by a run that is not compared here" in fewer.text


def test_a_setting_that_is_new_since_then_has_its_default(compare):
    path = compare("--seeds", "1").folder / "kd-seed10" / "recipe.yaml"
    values = yaml.safe_load(path.read_text())
    del values["training"]["warmup_steps"], values["objectives"][0]["temperature"]
    path.write_text(yaml.safe_dump(values))
    assert len(compare("--seeds", "1").made()) == 2
    path.write_text(yaml.safe_dump(values | {"gone": 1}))
    assert compare("--seeds", "1").made()[2:] == ["kd-seed10"]


def test_an_unfinished_run_is_made_anew_and_a_failed_one_tried_again(compare):
    run = compare("--seeds", "1").folder / "kd-seed10" / "run.json"
    edit(run, exit="stopped")
    assert "kd-seed10: unfinished; it is made anew" in compare("--seeds", "1").err
    edit(run, exit="failed")
    got = compare("--seeds", "1")
    assert "kd-seed10: failed before; it is made anew" in got.err
    assert got.made() == ["hard_labels-seed10", "kd-seed10", "kd-seed10", "kd-seed10"]


def test_an_unfinished_run_with_a_checkpoint_goes_on(compare):
    run = compare("--seeds", "1").folder / "kd-seed10"
    (run / "checkpoint-5").mkdir()
    (run / "checkpoint-5" / "MANIFEST.json").write_text("{}")
    edit(run / "run.json", exit="running")
    assert "kd-seed10: unfinished; goes on from step 5" in compare("--seeds", "1", "--dry-run").out
    got = compare("--seeds", "1")
    assert "kd-seed10: unfinished; it goes on from step 5" in got.err
    assert got.made()[2:] == ["kd-seed10+"]
    edit(run / "run.json", exit="running")
    (run / "checkpoint-5" / "broken").touch()
    got = compare("--seeds", "1")
    assert "could not go on (error: --resume: the text changed); it is made anew" in got.err
    assert (got.code, got.made()[3:]) == (0, ["kd-seed10+", "kd-seed10"])
    edit(run / "run.json", exit="running")
    got = compare("--seeds", "1", variants=PLAN["variants"] | {"KD": KD | {"training.weight_decay": 0.5}})
    assert got.made()[5:] == ["kd-seed10"], "another recipe does not go on from that checkpoint"


def test_rates_are_tried_on_the_first_seed_and_the_best_is_used(compare):
    hard = {"objectives": ["hard.cross_entropy"], "training.learning_rate": 9.0}
    plan = {"rates": [2e-3, 0.5], "trial": {"training.max_steps": 5}, "seeds": [10, 11]}
    got = compare(**plan, variants=PLAN["variants"] | {"hard labels": hard})
    assert got.made()[:2] == ["trial-kd-lr0.002", "trial-kd-lr0.5"]
    trial = yaml.safe_load((got.folder / "recipes" / "trial-kd-lr0.5.yaml").read_text())
    assert (trial["seed"], trial["training"]["max_steps"]) == (10, 5)
    assert trial["evaluation"]["metrics"] == ["loss"]
    found = got.found
    assert [found["variants"][name]["learning_rate"] for name in ("KD", "hard labels")] == [2e-3, 9.0]
    assert found["trials"]["KD"] == pytest.approx({"0.002": 5.0, "0.5": 5.498})
    assert found["cautions"] == [
        "The learning rate of KD, 0.002, lies at the edge of those that were tried: it is the smallest of 2, and a "
        "better one may lie beyond."
    ]
    assert "learning-rate trials" in got.text


def test_a_best_rate_inside_the_grid_needs_no_caution(compare):
    got = compare("--seeds", "1", "--learning-rates", "1e-4,2e-3,0.5")
    assert got.found["variants"]["KD"]["learning_rate"] == 2e-3
    assert got.found["cautions"] == []


def test_a_failed_run_is_named_and_the_others_go_on(compare):
    got = compare("--seeds", "2", variants={"broken": {"objectives": ["logits.renyi"]}, **PLAN["variants"]})
    assert got.code == 1
    assert got.found["failed"] == {f"broken-seed{seed}": "error: it broke" for seed in (10, 11)}
    assert len(got.found["variants"]["KD"]["runs"]) == 2
    assert "**FAILED: broken-seed10:** error: it broke" in got.text
    assert "| broken | — | — |" in got.text


def test_a_run_that_the_system_killed_is_said_to_be(compare):
    got = compare(
        "--seeds", "1", variants=PLAN["variants"] | {"big": {"objectives": ["logits.jensen_shannon"]}}
    )
    assert got.code == 1
    assert got.found["failed"] == {
        "big-seed10": "it was killed by SIGKILL; out of memory is the usual reason"
    }


def test_a_variant_whose_trials_all_fail_is_left_out(compare):
    variants = {"broken": {"objectives": ["logits.renyi"]}, **PLAN["variants"]}
    got = compare("--seeds", "1", variants=variants, rates=[1e-3])
    assert got.code == 1
    assert "broken-seed10" not in got.made()
    assert got.found["failed"] == {"trial-broken-lr0.001": "error: it broke"}


def test_unequal_tokens_are_said_loudly(compare):
    got = compare("--seeds", "1", variants=PLAN["variants"] | {"KD": KD | {"training.max_steps": 30}})
    assert (
        "**NOT AT EQUAL TOKENS: with seed 10 these were trained: hard labels 1,120, KD 1,130.**" in got.text
    )


def test_a_loss_that_is_not_finite_is_said_and_no_number(compare):
    edit(compare("--seeds", "2").folder / "kd-seed11" / "run.json", final={"loss": math.nan})
    got = compare("--seeds", "2")
    assert "WITHOUT A FINITE HELD-OUT LOSS" in got.found["cautions"][0]
    assert got.found["variants"]["hard labels"]["difference"]["loss"]["n"] == 1


def test_files_that_changed_between_runs_are_said(compare):
    edit(compare("--seeds", "2").folder / "kd-seed11" / "run.json", versions={"torch": "3"})
    cautions = compare("--seeds", "2").found["cautions"]
    assert any("The version of torch is not the same" in each for each in cautions)


def test_a_cached_teacher_is_known_by_its_files(compare):
    folder = compare("--seeds", "1").folder
    for name, known in (("kd", "files_sha256"), ("hard_labels", "sha256")):
        edit(folder / f"{name}-seed10" / "run.json", models={"teacher": {"source": "big", known: "abc"}})
    got = compare("--seeds", "1")
    assert (got.found["hashes"], got.found["cautions"]) == ({"teacher": "abc"}, [])


def test_stopping_ends_the_children_and_keeps_what_is_done(compare, monkeypatch):
    started, pressed = [], []
    popen, sleep = processes.subprocess.Popen, processes.time.sleep

    def start(*words, **settings):
        started.append(popen(*words, **settings))
        return started[-1]

    def interrupt(seconds):
        if len(started) == 2 and not pressed:
            pressed.append(True)
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(processes.subprocess, "Popen", start)
    monkeypatch.setattr(processes.time, "sleep", interrupt)
    variants = {"KD": KD, "slow": {"objectives": ["logits.reverse_kl"]}}
    got = compare("--seeds", "1", variants=variants, baseline=False)
    assert got.code == 130
    assert started[1].returncode not in (0, None)
    with pytest.raises(ProcessLookupError):
        os.kill(started[1].pid, 0)
    assert got.found["cautions"] == ["NOT COMPLETE: 1 of 2 runs are done."]
    assert len(got.found["variants"]["KD"]["runs"]) == 1


@pytest.mark.parametrize("rates", [[], [1e-3]])
def test_stopping_before_anything_is_done_writes_nothing(compare, monkeypatch, rates):
    def interrupt(runs, *_):
        if runs:
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(whole, "execute", interrupt)
    got = compare("--seeds", "1", rates=rates)
    assert got.code == 130
    assert not (got.folder / "compare.json").exists()


def test_two_comparisons_do_not_write_into_one_folder(compare, tmp_path):
    with locked(tmp_path / "runs"):
        got = compare()
    assert got.code == 2
    assert "another comparison is writing to" in got.err
    assert compare("--seeds", "1").code == 0


def test_a_dry_run_only_tells(compare):
    got = compare("--dry-run", "--seeds", "1", rates=[1e-3], test={"on": ["dolly"]})
    assert "trial-kd-lr0.001: missing" in got.out
    assert "hard_labels-seed10: missing" in got.out
    assert "sits: dolly (0 have)" in got.out
    assert not got.folder.exists()


def test_bad_input_is_a_sentence(compare):
    got = compare(against="nothing")
    assert got.code == 2
    assert "no variant 'nothing'" in got.err


def test_no_path_of_this_machine_is_in_the_command(compare):
    teacher = f"teacher.model={Path(verb.__file__).parents[1] / 'assets' / 'python_docs' / 'teacher'}"
    got = compare("--seeds", "1", "--set", teacher, "--only", "hard labels")
    command = got.found["command"]
    assert command.startswith(
        "stillroom compare .../plan.yaml --output .../runs --seeds 1 --set teacher.model=.../teacher"
    )
    assert command.endswith("--only 'hard labels'")


def test_objectives_of_one_recipe(compare, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(BASE | {"objectives": ["logits.forward_kl"], "seed": 3, "output": "x"}))
    got = compare("--objectives", "hard.cross_entropy", "--seeds", "2", file=file)
    assert got.code == 0
    assert got.made() == [
        f"{name}-seed{seed}" for seed in (3, 4) for name in ("as_in_the_recipe", "hard_labels")
    ]
    assert got.found["against"] == "hard labels"
    assert got.found["variants"]["as in the recipe"]["difference"]["loss"]["mean"] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "--objectives: say which to compare"),
        (("--objectives", "a", "--size", "tiny"), "--size tiny"),
        (("--objectives", "logits.forward_kl,,x"), "a name is missing"),
        (("--objectives", "logits.forward_k"), "unknown objective 'logits.forward_k'"),
        (("--objectives", "logits.forward_kl", "--seeds", "x"), "--seeds x: expected how many"),
        (("--objectives", "logits.forward_kl", "--against", "kd"), "--against kd: no such variant"),
        (("--objectives", "logits.forward_kl", "--protocol", "clean"), "name one with --test"),
    ],
)
def test_words_that_do_not_fit_a_recipe_are_refused(compare, tmp_path, words, sentence):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(BASE))
    got = compare(*words, file=file)
    assert got.code == 2
    assert sentence in got.err
    assert not (got.folder / "made.txt").exists()


def test_objectives_beside_a_comparison_file_are_refused(compare):
    assert "names its variants; use --only" in compare("--objectives", "logits.forward_kl").err


# --- exams --------------------------------------------------------------------------------------------------------


def sat(got):
    path = got.folder / "sat.txt"
    return path.read_text().split() if path.exists() else []


def test_students_sit_exams_after_training_and_the_teacher_once(compare, tmp_path):
    source = tmp_path / "self_inst.jsonl"
    source.write_text("{}")
    words = ("--seeds", "2", "--test", "dolly", "--test", f"self_inst={source}", "--test-limit", "5")
    got = compare(*words)
    assert got.code == 0, got.err
    students = ["hard_labels-seed10", "kd-seed10", "hard_labels-seed11", "kd-seed11"]
    assert sat(got) == [*students, "teacher"]
    found = got.found
    entry = found["variants"]["hard labels"]["tests"]["dolly"]["rouge_l"]
    assert entry["mean"] == pytest.approx(10 - 6.051)
    assert entry["difference"] | {"p_holm": 0} == pytest.approx(
        {"mean": -1.0, "low": -1.0, "high": -1.0, "wins": 0, "n": 2, "p": 0, "p_holm": 0}, abs=1e-6
    )
    assert found["variants"]["KD"]["runs"][0]["tests"]["self_inst"]["loss"] == pytest.approx(5.001)
    assert found["tests"]["marks"]["teacher"]["dolly"]["rouge_l"] == 9.0
    assert found["tests"]["protocol"] == {"name": "clean"}
    assert found["tests"]["notes"] == [
        "The student before training has random weights and sat no exam.",
        "dolly: 1 of 3 prompts was cut.",
        "self_inst: 1 of 3 prompts was cut.",
    ]
    assert "difference" not in found["variants"]["hard labels"]["tests"]["dolly"]["documents"]
    assert "documents" not in got.text
    assert "Exam dolly, minus KD" in got.text
    assert "test/dolly/rouge_l" in (got.folder / "compare.csv").read_text()
    answers = found["answers"]
    assert [each["exam"] for each in answers] == ["dolly"] * 6 + ["self_inst"] * 6
    assert set(answers[0]["texts"]) == {"hard labels", "KD", "teacher"}

    assert len(sat(compare(*words))) == 5, "nothing is sat again"
    source.write_text("{} ")
    assert len(sat(compare(*words))) == 10, "another text is another exam"
    assert len(got.made()) == 4, "and no student was trained anew"
    assert len(sat(compare(*words[:-1], "6"))) == 15


def test_a_metric_that_no_exam_measures_is_said_loudly(compare):
    test = {"on": {"dolly": None}, "metrics": ["rouge_l", "rogue_l"]}
    got = compare("--seeds", "1", test=test)
    assert "NOT MEASURED by any exam, whatever test.metrics says: rogue_l." in got.text
    assert set(got.found["variants"]["KD"]["tests"]["dolly"]) == {"rouge_l"}


def test_a_student_that_was_trained_anew_is_examined_anew(compare):
    words = ("--seeds", "1", "--test", "dolly")
    compare(*words)
    got = compare(*words, variants=PLAN["variants"] | {"KD": KD | {"training.weight_decay": 0.5}})
    assert sat(got)[3:] == ["kd-seed10"]


@pytest.mark.parametrize(
    ("on", "sentence"),
    [
        ({"doly": None}, "doly"),
        ({"dolly": "no.jsonl"}, "no.jsonl|256 positions"),
        ({"mbpp": None}, "allow-code-execution"),
    ],
)
def test_exams_that_cannot_be_sat_are_refused_before_training(tmp_path, on, sentence):
    plan = read_plan(written(tmp_path, test={"on": on}))
    with pytest.raises(BadInput, match=sentence):
        whole.run_comparison(plan, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_no_text_is_shown_where_none_is_wanted(compare):
    got = compare("--seeds", "1", "--test", "dolly", answers=0)
    assert got.found["answers"] == []
    assert str(got.folder.parent) not in json.dumps(got.found["plan"])
    assert got.found["variants"]["KD"]["tests"]["dolly"]


def test_a_teacher_does_not_sit_what_its_own_answers_decide(compare):
    got = compare("--seeds", "1", "--test", "koala", "--test", "dolly")
    assert set(got.found["tests"]["marks"]["teacher"]) == {"dolly"}
    assert set(got.found["variants"]["KD"]["tests"]) == {"dolly", "koala"}


def test_trials_never_see_an_exam(compare):
    got = compare("--seeds", "1", "--test", "dolly", rates=[1e-3, 2e-3])
    assert not [name for name in sat(got) if name.startswith("trial")]
    trial = (got.folder / "recipes" / "trial-kd-lr0.001.yaml").read_text()
    assert "dolly" not in trial


def test_an_exam_that_fails_is_named_and_tried_again(compare):
    got = compare("--seeds", "1", "--test", "dolly", "--test-limit", "13")
    assert got.code == 1
    assert got.found["failed"]["exams of kd-seed10"] == "error: no such exam"
    assert "No exam was sat." in got.text
    assert got.found["variants"]["KD"]["tests"] == {}
    assert len(sat(compare("--seeds", "1", "--test", "dolly", "--test-limit", "13"))) == 6
    assert compare("--seeds", "1", "--test", "dolly", "--test-limit", "12").code == 0


def test_an_exam_that_needs_the_right_is_given_it(compare, monkeypatch):
    seen = []
    monkeypatch.setattr(exams, "work_off", lambda works, *_: seen.extend(works) or {})
    compare("--seeds", "1", "--test", "mbpp", "--protocol", "minillm", "--allow-code-execution")
    words = list(seen[0].begin())
    assert words[3] == str(seen[0].log.parents[1] / "hard_labels-seed10")
    assert words[words.index("--protocol") + 1] == "minillm"
    assert words[-1] == "--allow-code-execution"


def test_answers_come_from_the_held_out_text_where_there_is_no_exam(compare):
    answers = compare("--seeds", "2", "--set", "evaluation.prompts=1").found["answers"]
    assert answers == [
        {
            "exam": None,
            "prompt": "p",
            "reference": "r",
            "texts": {
                "hard labels": "hard.cross_entropy",
                "teacher": "t",
                "student before training": "b",
                "KD": "logits.forward_kl",
            },
        }
    ]


# --- the real thing -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_runs_are_comparable(tmp_path):
    """Through `stillroom distill`: what it writes is what the runner reads, and a second call makes nothing."""
    folders = {
        role: str(model_folder(tmp_path / role, seed=i)) for i, role in enumerate(("student", "teacher"))
    }
    rows = str(jsonl(tmp_path / "rows.jsonl", QUESTIONS))
    base = {
        "student": {"model": folders["student"]},
        "teacher": {"model": folders["teacher"], "preflight": "off"},
        "data": {"train": rows, "eval": rows, "max_length": 64, "eval_limit": 8},
        "training": {
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "save_strategy": "no",
        },
        "evaluation": {"prompts": 0},
    }
    plan = read_plan(written(tmp_path, base=base, seeds=[10]))
    outcome = whole.run_comparison(plan, tmp_path / "runs", jobs=2)
    found = outcome.content
    assert (outcome.exit, found["cautions"]) == ("done", [])
    assert set(found["marks"]) == {"teacher", "student before training"}
    for variant in found["variants"].values():
        assert math.isfinite(variant["mean"]["teacher_kl"])
    wanted = schedule(plan, tmp_path / "runs")
    assert [state(run) for run in wanted.runs({})] == ["done", "done"]
    tokens = [read_summary(run.folder).tokens for run in wanted.runs({})]
    assert tokens[0] == tokens[1]
