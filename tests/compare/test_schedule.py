"""Which runs there are, in which order, and what lies on disk already."""

import hashlib

import pytest
from stand_in import BASE, PLAN, written

from stillroom.compare.exams import sittings
from stillroom.compare.plan import read_plan
from stillroom.compare.schedule import choose, schedule, state
from stillroom.core.errors import BadInput
from stillroom.core.record import RunSummary, write_summary


def test_the_largest_rate_among_equals_is_chosen():
    assert choose({1e-3: 5.0, 2e-3: 5.009, 4e-3: 5.011}) == 2e-3


def test_runs_go_seed_by_seed_and_one_marks_the_teacher(tmp_path):
    wanted = schedule(read_plan(written(tmp_path)), tmp_path, seeds=[11, 12])
    runs = wanted.runs({"KD": 0.5})
    assert [(run.variant, run.seed) for run in runs] == [
        (name, seed) for seed in (11, 12) for name in ("hard labels", "KD")
    ]
    assert [run.folder.name for run in runs if run.recipe.evaluation.baselines] == ["kd-seed11"]
    assert [run.folder.name for run in runs if run.recipe.teacher.preflight != "off"] == ["kd-seed11"]
    assert [run.recipe.training["learning_rate"] for run in runs[:2]] == [1e-3, 0.5]


def test_only_the_first_trial_asks_whether_the_teacher_is_one(tmp_path):
    plan = read_plan(written(tmp_path, rates=[1e-3, 2e-3]))
    trials = [run for found in schedule(plan, tmp_path).trials().values() for run in found.values()]
    assert [run.recipe.teacher.preflight for run in trials] == ["refuse", "off", "off", "off"]


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


@pytest.mark.parametrize("name", ["red \x1b[31m", "two\nlines"])
def test_names_that_would_write_on_a_terminal_are_refused(tmp_path, name):
    plan = read_plan(written(tmp_path, variants={**PLAN["variants"], name: {}}))
    with pytest.raises(BadInput, match="expected a name of letters, digits and signs on one line"):
        schedule(plan, tmp_path)


def done(run, **facts):
    """As if a run were done."""
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "recipe.yaml").write_text(run.recipe.to_yaml())
    write_summary(run.folder, RunSummary("x", exit="done", **facts))


def test_a_run_of_a_text_that_is_another_one_now_is_made_anew(tmp_path):
    text = tmp_path / "held_out.jsonl"
    text.write_text("one")
    base = BASE | {"data": BASE["data"] | {"eval": str(text)}}
    first, *_ = schedule(read_plan(written(tmp_path, base=base)), tmp_path / "runs").runs({})
    done(first, data={"eval": {"sha256": hashlib.sha256(b"one").hexdigest()}})
    assert state(first) == "done"
    text.write_text("two!")
    assert state(first) == "made with another content of data.eval"


def test_a_run_of_groups_that_are_others_now_is_made_anew(tmp_path):
    groups = tmp_path / "head_groups.json"
    groups.write_text("one")
    first, *_ = schedule(read_plan(written(tmp_path)), tmp_path / "runs").runs({})
    done(first, objectives=[{"files": {str(groups): hashlib.sha256(b"one").hexdigest()}}])
    assert state(first) == "done"
    groups.write_text("two!")
    assert state(first) == f"made with another content of {groups}"


def test_another_teacher_in_the_same_place_is_examined_anew(tmp_path):
    """Marks of a teacher are told apart by its weights, and by its whole name: many folders end in "student"."""
    plan = read_plan(written(tmp_path, test={"on": {"dolly": None}}))
    runs, asked = schedule(plan, tmp_path).runs({}), []
    for digest in ("aa", "bb"):
        done(runs[1], models={"teacher": {"sha256": digest}})
        (teacher,) = [each for each in sittings(runs[:2], "KD", plan.test, tmp_path) if each.seed is None]
        asked.append(teacher.asked())
    assert asked[0] != asked[1]
    assert asked[0]["model"].endswith("python_docs/teacher")
