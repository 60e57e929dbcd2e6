"""The first command of the README, shortened: real text, the shipped teacher, three students, one page."""

import json
from importlib.resources import files

import pytest
import torch

from stillroom.core.record import RunSummary, read_jsonl, read_summary


@pytest.mark.slow
def test_three_students_from_one_start_on_the_same_tokens(typed, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "first"
    done = typed("quickstart", "--steps", "3", "--output", output, "--quiet")
    assert done.code == 0, done.err
    names = ("supervised_kd", "sharp", "hard_labels")
    distilled, sharp, hard = (read_summary(output / name) for name in names)
    assert distilled.tokens == sharp.tokens == hard.tokens > 0
    assert len({run.models["student"]["sha256"] for run in (distilled, sharp, hard)}) == 1, "one start"
    assert len({run.final["loss"] for run in (distilled, sharp, hard)}) == 3
    assert distilled.teacher["perplexity"] < 0.8 * hard.final["perplexity"]
    held_out = {row["module"] for row in read_jsonl(output / "data" / "eval.jsonl")}
    assert not held_out & {row["module"] for row in read_jsonl(output / "data" / "train.jsonl")}
    page = (output / "report.html").read_text()
    assert "hard labels" in page
    assert "SHARP" in page
    assert "supervised KD" in page
    model = AutoModelForCausalLM.from_pretrained(output / "supervised_kd" / "student")
    tokenizer = AutoTokenizer.from_pretrained(output / "supervised_kd" / "student")
    ids = torch.tensor([tokenizer("### Question:\nWhat is `len` for?\n\n### Answer:\n")["input_ids"]])
    assert model(ids).logits.shape[-1] == len(tokenizer)


@pytest.mark.slow
def test_the_teacher_can_be_built_anew(typed, tmp_path, monkeypatch):
    from stillroom import quickstart

    monkeypatch.setattr(quickstart, "RUNS", {"supervised KD": [{"use": "logits.forward_kl"}]})
    done = typed("quickstart", "--train-teacher", "--steps", "2", "--output", tmp_path / "run", "--quiet")
    assert done.code == 0, done.err
    made, shipped = tmp_path / "run" / "teacher" / "model", files("stillroom") / "assets/python_docs/teacher"
    new, old = (json.loads((folder / "config.json").read_text()) for folder in (made, shipped))
    assert new == old
    size = sum(path.stat().st_size for path in shipped.iterdir())
    assert size <= 8e6, "what comes along stays small"


def test_other_peoples_folders_are_left_alone(typed, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    done = typed("quickstart", "--output", tmp_path, "--quiet")
    assert done.code == 2
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    (tmp_path / "data").mkdir()
    assert typed("quickstart", "--output", tmp_path, "--quiet").code == 2, (
        "a folder named data is no quickstart"
    )


@pytest.mark.slow
def test_stopping_one_training_stops_the_quickstart(typed, tmp_path, monkeypatch):
    from stillroom import quickstart

    started = []

    def stopped(recipe, **settings):
        started.append(recipe)
        return RunSummary(name="x", exit="stopped")

    monkeypatch.setattr(quickstart, "run", stopped)
    assert typed("quickstart", "--output", tmp_path / "q", "--quiet").code == 130
    assert len(started) == 1
