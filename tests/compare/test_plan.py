"""The comparison file: what is refused, what a size brings, which setting wins, and what is added to it."""

from pathlib import Path

import pytest
import yaml
from stand_in import BASE, PLAN, written

from stillroom.compare.plan import fixed_rate, read_plan, resolve
from stillroom.compare.schedule import schedule
from stillroom.core.errors import BadInput


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


def test_a_tiny_size_takes_over_what_it_does_not_say(tmp_path):
    tiny = {"seeds": [7], "set": {"training.max_steps": 3}, "variants": ["hard labels"]}
    path = written(tmp_path, rates=[1e-3], set={"data.eval_limit": 8}, test={"on": ["dolly"]}, tiny=tiny)
    plan = read_plan(path, "tiny")
    assert (plan.seeds, plan.rates, list(plan.variants)) == ([7], [1e-3], ["hard labels", "KD"])
    assert plan.set == {"data.eval_limit": 8, "training.max_steps": 3}
    assert plan.base == BASE
    assert plan.test is not None
    assert plan.test.on == {"dolly": None}
    with pytest.raises(BadInput, match="no variant 'soft'"):
        read_plan(written(tmp_path, tiny={"variants": ["soft"]}), "tiny")
    with pytest.raises(BadInput, match="--size huge: expected one of small, tiny, paper"):
        read_plan(path, "huge")


def test_hard_labels_are_added_where_no_variant_learns_from_text_alone(tmp_path):
    variants = {"KD": PLAN["variants"]["KD"]}
    plan = read_plan(written(tmp_path, variants=variants, against=""))
    assert (list(plan.variants), plan.against) == (["hard labels", "KD"], "hard labels")
    named = {"text": {"objectives": [{"use": "hard.cross_entropy"}]}, **variants}
    plan = read_plan(written(tmp_path, variants=named, against=""))
    assert (list(plan.variants), plan.against) == (["text", "KD"], "text")
    assert list(read_plan(written(tmp_path, variants=variants, baseline=False)).variants) == ["KD"]
    with pytest.raises(BadInput, match="against: missing; name one of KD"):
        read_plan(written(tmp_path, variants=variants, baseline=False, against=""))
    taken = {"hard labels": variants["KD"]}
    with pytest.raises(BadInput, match="objectives that are not hard"):
        read_plan(written(tmp_path, variants=taken, against="hard labels"))


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
