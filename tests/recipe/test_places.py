"""Which places of a training are looked at; the weights themselves are the business of tests/cli/test_inspect.py."""

import json
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.core.record import RunSummary, write_summary
from stillroom.recipe.load import load_recipe
from stillroom.recipe.places import Subject, find_subject, visits
from stillroom.training import checkpoint


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    (folder / "student").mkdir(parents=True)
    write_summary(folder, RunSummary(name="run", exit="done", steps=100))
    return folder


def add_checkpoints(run: Path, *steps: int) -> None:
    for step in steps:
        with checkpoint.publish(run / f"checkpoint-{step}") as folder:
            (folder / "trainable.safetensors").write_bytes(b"weights")


def subject(run: Path, **training: object) -> Subject:
    values = {
        "student": {"model": "student"},
        "data": {"train": "some/data", "eval": "some/data"},
        "objectives": ["hard.cross_entropy"],
        "training": training,
        "output": str(run),
    }
    found = Subject(load_recipe(values=values), run)
    from stillroom.core.record import read_summary

    found.summary = read_summary(run)
    return found


def names(run: Path, **training: object) -> list[str]:
    return [visit.place.name for visit in visits(subject(run, **training))[0]]


def test_the_last_checkpoint_is_the_end(run):
    add_checkpoints(run, 50, 100)
    assert names(run) == ["start", "step 50", "end"]
    assert [visit.place.share for visit in visits(subject(run))[0]] == [0.0, 0.5, 1.0]


def test_where_the_best_student_is_kept_the_last_one_is_another(run):
    add_checkpoints(run, 100)
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    assert names(run, **best) == ["start", "step 100", "end"]


def test_of_many_checkpoints_some_are_looked_at(run):
    add_checkpoints(run, *range(10, 101, 10))
    found, notes = visits(subject(run))
    assert [visit.place.step for visit in found] == [0, 20, 40, 50, 70, 100]
    assert notes == ["Of 9 checkpoints 4 are looked at, evenly spread."]


def test_a_run_that_broke_off_is_looked_at_up_to_its_last_checkpoint(run):
    add_checkpoints(run, *range(10, 101, 10))
    (run / "student").rmdir()
    assert [visit.place.step for visit in visits(subject(run))[0]] == [0, 20, 50, 80, 100]


def test_harvested_text_is_that_of_the_run(run):
    values = subject(run).recipe.model_dump(mode="json")
    values["data"] |= {"train": "python-docs", "eval": "python-docs"}
    (run / "recipe.yaml").write_text(json.dumps(values))
    (run / "data").mkdir()
    (run / "data" / "train.jsonl").write_text("")
    data = find_subject(run).recipe.data
    assert (data.train, data.eval) == (str(run / "data" / "train.jsonl"), "python-docs")


def test_a_damaged_checkpoint_is_passed_over(run):
    add_checkpoints(run, 50)
    (run / "checkpoint-50" / "trainable.safetensors").write_bytes(b"cut")
    found, notes = visits(subject(run))
    assert [visit.place.name for visit in found] == ["start", "end"]
    assert "trainable.safetensors is damaged" in notes[0]


def test_a_run_that_broke_off_has_no_end(run):
    (run / "student").rmdir()
    found, notes = visits(subject(run))
    assert [visit.place.name for visit in found] == ["start"]
    assert "left no final student" in notes[0]


def test_a_run_without_its_recipe_is_refused(run):
    with pytest.raises(BadInput, match=r"without its recipe\.yaml"):
        find_subject(run)


def test_a_run_that_was_moved_is_found_where_it_is(run, tmp_path):
    recipe = subject(run).recipe
    (run / "recipe.yaml").write_text(json.dumps(recipe.model_dump(mode="json")))
    moved = run.rename(tmp_path / "moved")
    assert find_subject(moved).folder == moved
