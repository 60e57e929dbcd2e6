"""Which runs there are, in which order, and what lies on disk already."""

import pytest
from stand_in import PLAN, written

from stillroom.compare.plan import read_plan
from stillroom.compare.schedule import choose, schedule
from stillroom.core.errors import BadInput


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
