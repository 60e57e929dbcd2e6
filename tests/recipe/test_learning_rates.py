"""`learning_rate` of an objective: in the recipe, in a run from end to end, and nowhere where it is not given."""

import json

import pytest
import torch
from folders import QUESTIONS, jsonl, model_folder, tiny_tokenizer
from safetensors.torch import load_file

from stillroom.compare.schedule import Run, state
from stillroom.core.errors import BadInput
from stillroom.recipe.load import load_recipe
from stillroom.recipe.run import run_recipe
from stillroom.report.read import read_runs
from stillroom.report.settings import objectives_table

RATE = 2e-4


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("rates")
    model_folder(root / "student", seed=1, tokenizer=tiny_tokenizer())
    model_folder(root / "teacher", seed=2, width=32, tokenizer=tiny_tokenizer())
    jsonl(root / "data.jsonl", QUESTIONS)
    return root


def recipe(world, output, rate=None, use="dual_space.dskd", **training):
    own = {} if rate is None else {"learning_rate": rate}
    steady = {"lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": 0.0, "save_strategy": "no"}
    values = {
        "student": {"model": str(world / "student")},
        "teacher": {"model": str(world / "teacher"), "preflight": "off"},
        "data": {"train": str(world / "data.jsonl"), "eval": str(world / "data.jsonl"), "eval_limit": 2},
        "objectives": [{"use": "hard.cross_entropy", "weight": 0.5}, {"use": use, "weight": 0.5, **own}],
        "training": {
            "max_steps": 1, "per_device_train_batch_size": 2, "learning_rate": RATE, "use_cpu": True,
            "logging_steps": 1, **steady, **training,
        },
        "evaluation": {"prompts": 0, "metrics": ["loss"], "baselines": False},
        "output": str(output),
    }  # fmt: skip
    return load_recipe(values=values)


def trained(run):
    parts, student = (
        load_file(run / name) for name in ("objective.safetensors", "student/model.safetensors")
    )
    return torch.cat([each.flatten() for each in parts.values()]), student


def test_the_projector_moves_at_its_own_rate_and_the_student_at_its(world, tmp_path):
    found = {}
    for rate in (None, 0.0, 1e-3):
        summary = run_recipe(recipe(world, tmp_path / str(rate), rate))
        assert summary.exit == "done"
        assert [each.get("learning_rate") for each in summary.objectives] == [None, rate]
        rows = [
            json.loads(line) for line in (tmp_path / str(rate) / "metrics.jsonl").read_text().splitlines()
        ]
        assert [row["learning_rate"] for row in rows if "learning_rate" in row] == [pytest.approx(RATE)]
        found[rate] = trained(tmp_path / str(rate))
    start = found[0.0][0]  # with a rate of zero it stays where it began
    slow, fast = ((found[rate][0] - start) for rate in (None, 1e-3))
    # The first step of Adam has the length of the rate in every direction that has a gradient.
    assert slow.abs().median().item() == pytest.approx(RATE, rel=0.05)
    assert fast.abs().median().item() == pytest.approx(1e-3, rel=0.05)
    for rate in (0.0, 1e-3):
        assert all(torch.equal(each, found[None][1][key]) for key, each in found[rate][1].items())


def test_a_resumed_run_trains_the_same_student_and_projector(world, tmp_path):
    often = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
    whole, parts = (
        recipe(world, tmp_path / name, 1e-3, lr_scheduler_type="cosine", **often)
        for name in ("whole", "parts")
    )
    run_recipe(whole)
    run_recipe(parts)
    (tmp_path / "parts" / "run.json").unlink()
    (tmp_path / "parts" / "checkpoint-4").rename(tmp_path / "gone")
    run_recipe(parts, resume=True)
    ours, theirs = trained(tmp_path / "whole"), trained(tmp_path / "parts")
    assert torch.equal(ours[0], theirs[0])
    assert all(torch.equal(each, theirs[1][key]) for key, each in ours[1].items())
    (tmp_path / "parts" / "run.json").unlink()
    with pytest.raises(BadInput, match=r"objectives\.1\.learning_rate was 0\.001, is None"):
        run_recipe(recipe(world, tmp_path / "parts", lr_scheduler_type="cosine", **often), resume=True)


def test_a_rate_for_nothing_is_a_note(world, tmp_path):
    summary = run_recipe(recipe(world, tmp_path / "run", 1e-3, use="logits.forward_kl"))
    assert "logits.forward_kl has no part to train; its learning_rate has no effect." in summary.notes
    assert "learning_rate 0.001, temperature" in str(objectives_table(read_runs([tmp_path / "run"])))


def test_without_a_rate_a_recipe_is_written_as_before_there_were_rates(world, tmp_path):
    written = recipe(world, tmp_path / "run").to_yaml()
    assert written.count("learning_rate") == 1, "that of training"
    summary = run_recipe(recipe(world, tmp_path / "run"))
    assert "learning_rate" not in summary.objectives[1]
    assert (tmp_path / "run" / "recipe.yaml").read_text() == written
    assert state(Run("a", 10, recipe(world, tmp_path / "run"))) == "done"
    assert (
        state(Run("a", 10, recipe(world, tmp_path / "run", 1e-3)))
        == "made with another objectives.1.learning_rate"
    )


def test_a_rate_is_written_and_read_back(world, tmp_path):
    made = recipe(world, tmp_path / "run", "1e-3")
    assert "learning_rate: 0.001" in made.to_yaml()
    assert made.objectives[1].learning_rate == 1e-3
    assert "learning_rate" not in made.objectives[1].settings
    (tmp_path / "again.yaml").write_text(made.to_yaml())
    assert load_recipe(tmp_path / "again.yaml") == made


@pytest.mark.parametrize(
    ("rate", "says"), [(-1, "at least 0"), (True, "expected a number"), (float("inf"), "finite")]
)
def test_a_rate_is_a_number(rate, says, world, tmp_path):
    with pytest.raises(BadInput, match=rf"objectives\.1\.learning_rate: .*{says}"):
        recipe(world, tmp_path / "run", rate)


@pytest.mark.parametrize("sharded", [{"deepspeed": "ds.json"}, {"fsdp": "full_shard"}])
def test_sharded_training_knows_one_rate(sharded, world, tmp_path):
    with pytest.raises(
        BadInput, match=r"objectives\.1\.learning_rate: sharded training \(training\.\w+\) knows one rate"
    ):
        recipe(world, tmp_path / "run", 1e-3, **sharded)
    assert recipe(world, tmp_path / "run", **sharded)
