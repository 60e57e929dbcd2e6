"""The main job from the command line, on tiny models: what is written loads, and a stopped run goes on."""

import json

import pytest
import torch
import yaml
from folders import QUESTIONS, jsonl, model_folder

from stillroom.core.errors import BadInput
from stillroom.core.record import read_jsonl, read_summary

QUICK = (
    "--set", "training.logging_steps=1", "--set", "training.use_cpu=true", "--set", "evaluation.prompts=2",
    "--set", "evaluation.max_new_tokens=4", "--set", "data.max_length=64", "--quiet",
)  # fmt: skip


UNTRAINED = ("--set", "teacher.preflight=off")
"""The teachers of these tests have never been trained."""


def pair(world, run, *more):
    return (
        "distill", "--student", world / "student", "--teacher", world / "teacher", "--data", world / "data.jsonl",
        "--eval", world / "data.jsonl", "--output", run, "--max-steps", "4", *more, *UNTRAINED, *QUICK,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_folder_is_whole_and_the_student_loads(world, typed, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = tmp_path / "run"
    done = typed(*pair(world, run, "--objective", "hard.cross_entropy", "--objective", "logits.forward_kl"))
    assert done.code == 0, done.err
    assert "Perplexity" in done.out
    written = {path.name for path in run.iterdir()}
    assert {"student", "recipe.yaml", "metrics.jsonl", "samples.jsonl", "run.json", "report.html"} <= written
    summary = read_summary(run)
    assert summary.exit == "done"
    assert summary.tokens > 0
    assert {"perplexity", "agreement", "teacher_kl", "rouge_l"} <= summary.final.keys()
    assert summary.teacher["perplexity"] > 0
    assert len(summary.models["student"]["sha256"]) == 64
    rows = read_jsonl(run / "metrics.jsonl")
    train = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in train] == [1, 2, 3, 4]
    assert "loss/logits.forward_kl/divergence" in train[0]
    assert "grad_norm/hard.cross_entropy" in train[0]
    assert any(row["split"] == "eval" for row in rows)
    assert yaml.safe_load((run / "recipe.yaml").read_text())["objectives"][1]["temperature"] == 1.0
    assert {"prompt", "reference", "teacher", "baseline", "student"} == read_jsonl(run / "samples.jsonl")[
        0
    ].keys()
    model = AutoModelForCausalLM.from_pretrained(run / "student")
    tokenizer = AutoTokenizer.from_pretrained(run / "student")
    ids = torch.tensor([tokenizer("a house")["input_ids"]])
    assert model.generate(ids, max_new_tokens=2, do_sample=False).shape[1] == ids.shape[1] + 2

    again = typed("evaluate", run, "--data", world / "data.jsonl", "--teacher", world / "teacher", "--max-length", "64",
                  "--prompts", "2", "--json")  # fmt: skip
    assert json.loads(again.out)["perplexity"] == pytest.approx(summary.final["perplexity"], rel=1e-5)
    assert typed(*pair(world, run, "--objective", "logits.forward_kl")).code == 2, "a run is not overwritten"
    assert typed("report", run, "--output", tmp_path / "page.html").code == 0
    assert "<script" not in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_student(world, typed, tmp_path):
    objective = (
        "--objective",
        "logits.forward_kl",
        "--set",
        "training.save_steps=2",
        "--set",
        "training.eval_strategy='no'",
    )
    straight, stopped = tmp_path / "a", tmp_path / "b"
    assert typed(*pair(world, straight, *objective)).code == 0
    assert typed(*pair(world, stopped, *objective)).code == 0
    summary = json.loads((stopped / "run.json").read_text())
    (stopped / "run.json").write_text(json.dumps(summary | {"exit": "stopped"}))
    done = typed(*pair(world, stopped, *objective, "--set", "training.save_total_limit=1"), "--resume")
    assert done.code == 0, done.err
    from safetensors.torch import load_file

    one, two = (load_file(run / "student" / "model.safetensors") for run in (straight, stopped))
    assert all(torch.equal(one[name], two[name]) for name in one)
    other = typed(*pair(world, stopped, *objective, "--set", "training.learning_rate=0.5"), "--resume")
    assert other.code == 2
    assert "learning_rate" in other.err


@pytest.mark.slow
def test_heads_of_different_width_over_one_tokenizer_are_trimmed(world, typed, tmp_path):
    wide = model_folder(tmp_path / "wide", seed=3, rows=384)
    done = typed(
        "distill", "--student", world / "student", "--teacher", wide, "--data", world / "data.jsonl", "--objective",
        "logits.forward_kl", "--output", tmp_path / "run", "--max-steps", "1", *UNTRAINED, *QUICK,
    )  # fmt: skip
    assert done.code == 0, done.err
    notes = " ".join(read_summary(tmp_path / "run").notes)
    assert "trimmed" in notes
    assert "of its probability" in notes


@pytest.mark.slow
def test_a_students_own_objective_is_named_by_its_import_path(world, typed, tmp_path, monkeypatch):
    (tmp_path / "my_objective.py").write_text(
        '"""Squared difference of probabilities."""\n'
        "from dataclasses import dataclass\n"
        "from stillroom.objectives.logits._family import LogitObjective\n"
        "@dataclass(eq=False, kw_only=True)\n"
        "class Brier(LogitObjective):\n"
        '    """Sum over the vocabulary of the squared difference."""\n'
        "    def divergence(self, log_p, log_q):\n"
        "        return (log_p.exp() - log_q.exp()).square().sum(-1)\n"
    )
    monkeypatch.chdir(tmp_path)
    done = typed(
        "distill", "--student", world / "student", "--teacher", world / "teacher", "--data", world / "data.jsonl",
        "--objective", "my_objective", "--output", tmp_path / "run", "--max-steps", "1", *UNTRAINED, *QUICK,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert read_summary(tmp_path / "run").objectives[0]["use"] == "my_objective"


def test_list_names_every_objective_and_its_settings(typed):
    assert "logits.forward_kl" in typed("list").out
    assert "temperature" in typed("list", "logits.forward_kl").out
    assert "beta" in [row["name"] for row in json.loads(typed("list", "logits.jensen_shannon", "--json").out)]


def test_15_data_that_changed_are_refused_on_resume(world, typed, tmp_path):
    data = jsonl(tmp_path / "d.jsonl", QUESTIONS)
    words = (
        "distill", "--student", world / "student", "--data", data, "--objective", "hard.cross_entropy", "--output",
        tmp_path / "run", "--max-steps", "2", "--set", "training.save_steps=1", *QUICK,
    )  # fmt: skip
    assert typed(*words).code == 0
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(summary | {"exit": "stopped"}))
    jsonl(data, QUESTIONS[::-1])
    done = typed(*words, "--resume")
    assert done.code == 2
    assert "changed" in done.err


@pytest.mark.slow
def test_a_student_with_adapters_loads_again(world, typed, tmp_path):
    from transformers import AutoModelForCausalLM

    done = typed(
        "distill", "--student", world / "student", "--teacher", world / "teacher", "--data",
        world / "data.jsonl", "--objective", "logits.forward_kl", "--output", tmp_path / "run",
        "--eval", world / "data.jsonl", "--max-steps", "1", "--set", "student.lora={r: 2}", *UNTRAINED, *QUICK,
    )  # fmt: skip
    assert done.code == 0, done.err
    facts = read_summary(tmp_path / "run").models["student"]
    assert 0 < facts["trained_parameters"] < 0.5 * facts["parameters"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "student")
    assert (tmp_path / "run" / "adapter" / "adapter_config.json").exists()
    judged = typed(
        "evaluate",
        tmp_path / "run",
        "--data",
        world / "data.jsonl",
        "--max-length",
        "64",
        "--prompts",
        "0",
        "--json",
    )
    assert judged.code == 0, judged.err
    final = read_summary(tmp_path / "run").final["loss"]
    assert json.loads(judged.out)["loss"] == pytest.approx(final, rel=1e-4)


def test_61_a_finished_run_is_not_run_again(world, typed, tmp_path):
    words = (
        "distill", "--student", world / "student", "--data", world / "data.jsonl", "--objective",
        "hard.cross_entropy", "--output", tmp_path / "run", "--max-steps", "1", *QUICK[:-1],
    )  # fmt: skip
    assert typed(*words).code == 0
    done = typed(*words, "--resume")
    assert done.code == 0
    assert "already complete" in done.err
    before = (tmp_path / "run" / "run.json").read_bytes()
    (tmp_path / "bad.jsonl").write_text("{")
    assert typed(*words, "--data", tmp_path / "bad.jsonl", "--overwrite").code == 2
    assert (tmp_path / "run" / "run.json").read_bytes() == before, "bad input takes no earlier result away"
    assert typed(*words, "--overwrite").code == 0


@pytest.mark.slow
@pytest.mark.parametrize("orthogonality", ["frozen", "penalty", "parametrized"])
def test_what_an_objective_is_made_of_is_saved_and_its_notes_are_kept(world, typed, tmp_path, orthogonality):
    from safetensors.torch import load_file

    sets = {
        "initialization": "independent_qr",
        "orthogonality": orthogonality,
        "width": 48,
        "rank_size": 16,
        "integration": 0.1,
    }
    words = [word for key, value in sets.items() for word in ("--set", f"objectives.1.{key}={value}")]
    run = tmp_path / "run"
    both = ("--objective", "logits.forward_kl", "--objective", "attention.sharp")
    done = typed(*pair(world, run, *both, *words))
    assert done.code == 0, done.err
    saved = load_file(run / "objective.safetensors")
    assert any("spaces" in name for name in saved)
    summary = read_summary(run)
    assert any("trained on the loss that they carry" in note for note in summary.notes) is (
        orthogonality != "frozen"
    )
    last = [row for row in read_jsonl(run / "metrics.jsonl") if row["split"] == "train"][-1]
    assert last["measure/attention.sharp/effective_rank/token"] == pytest.approx(16, abs=0.5)
    assert last["measure/attention.sharp/control"] > 0


@pytest.mark.slow
def test_a_run_whose_marks_could_not_be_taken_is_not_done(world, typed, tmp_path, monkeypatch):
    from stillroom.recipe.examine import Examiner

    real = Examiner.marks

    def marks(self, model, role, title):
        if role == "student":
            raise BadInput("no room for the answers")
        return real(self, model, role, title)

    monkeypatch.setattr(Examiner, "marks", marks)
    assert typed(*pair(world, tmp_path / "run", "--objective", "hard.cross_entropy")).code == 2
    assert read_summary(tmp_path / "run").exit == "failed", "a comparison would take it as it is"
