"""Four broken teachers are caught by name, a good one is not, and looking leaves no trace.

The teacher is the one that comes along: 3.4 M parameters that were trained on questions about Python.
"""

import json
import os
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from folders import QUESTIONS, jsonl, model_folder
from transformers import AutoModelForCausalLM

from stillroom.core.errors import BadInput
from stillroom.recipe.load import load_recipe
from stillroom.recipe.preflight import preflight

ASSETS = Path(str(files("stillroom"))) / "assets" / "python_docs"
DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


@pytest.fixture(scope="session")
def questions(tmp_path_factory) -> Path:
    """Questions that the teacher was not trained on, as instructions, so that every template could write them."""
    from stillroom.data.python_docs import harvest, prompted

    held_out = [prompted(row) for row in harvest(packages=()).evaluation[:400]]
    rows = [{"instruction": each["prompt"], "output": each["completion"]} for each in held_out]
    return jsonl(tmp_path_factory.mktemp("text") / "questions.jsonl", rows)


def recipe(folder: Path, data: Path, output: Path, /, **changes):
    values = {
        "student": {"model": str(ASSETS / "student"), "init": "random"},
        "teacher": {"model": str(folder), "dtype": "float32"},
        "data": {"train": str(data), "template": "plain", "max_length": 256, "limit": 64},
        "objectives": ["logits.forward_kl"],
        "training": {
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "save_strategy": "no",
        },
        "evaluation": {"prompts": 0},
        "output": str(output),
    }
    values["data"] |= changes.pop("data_settings", {"eval": str(data)})
    return load_recipe(values=values | changes)


def broken(folder: Path, change) -> Path:
    """The good teacher after `change(model)`, saved."""
    model = AutoModelForCausalLM.from_pretrained(ASSETS / "teacher", dtype=torch.float32)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((ASSETS / "teacher" / name).read_bytes())
    return folder


def randomize(model) -> None:
    generator = torch.Generator().manual_seed(0)
    for each in model.parameters():
        if each.dim() > 1:
            each.copy_(0.02 * torch.randn(each.shape, generator=generator))


def zero(model) -> None:
    for each in model.parameters():
        each.zero_()


def shift_all(model) -> None:
    """The row of each token is that of the one before it, in head and embedding alike."""
    rows = model.get_input_embeddings().weight
    rows.copy_(rows.roll(1, dims=0))
    head = model.get_output_embeddings().weight
    if head.data_ptr() != rows.data_ptr():
        head.copy_(head.roll(1, dims=0))


def shift_head(model) -> None:
    head = model.get_output_embeddings().weight.clone().roll(-2, dims=0)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)


def rescale(factor: float):
    return lambda model: model.model.norm.weight.mul_(factor)


@pytest.mark.slow
def test_a_good_teacher_passes_and_the_forecast_is_plausible(questions, tmp_path):
    found = preflight(recipe(ASSETS / "teacher", questions, tmp_path / "run"))
    assert found.refusals == []
    assert found.facts["loss"] < 5.5
    assert 0.75 < found.facts["logit_scale"] < 1.25
    assert not any("template" in note or "temperature" in note for note in found.notes)
    forecast = found.forecast
    assert forecast.steps == 2
    assert forecast.terms["the optimizer's state"] == 2 * forecast.terms["gradients"]
    assert forecast.terms["activations"] > 10**5
    assert forecast.seconds is not None
    assert not (tmp_path / "run" / "run.json").exists()
    json.dumps(found.as_dict())
    found.require()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (randomize, "never been trained"),
        (zero, "never been trained"),
        (shift_all, "where +1 is added to every token"),
        (shift_head, "where -2 is added to each token that it predicts"),
        (rescale(0.5), "divided by"),
        (rescale(5.0), "multiplied by"),
    ],
    ids=["random", "zeroed", "shifted ids", "shifted head", "colder", "hotter"],
)
def test_a_broken_teacher_is_refused_by_name(change, words, questions, tmp_path):
    found = preflight(recipe(broken(tmp_path / "teacher", change), questions, tmp_path / "run"))
    assert len(found.refusals) == 1, found.refusals
    assert words in found.refusals[0]
    with pytest.raises(BadInput, match=r"teacher\.preflight: note"):
        found.require()


@pytest.mark.slow
def test_a_sure_teacher_is_a_note_and_a_handful_of_tokens_no_reason(questions, tmp_path):
    """Models tuned by rewards look like logits times two; three samples look like anything."""
    sure = broken(tmp_path / "sure", rescale(2.0))
    found = preflight(recipe(sure, questions, tmp_path / "run"))
    assert found.refusals == []
    assert any("multiplied by" in note for note in found.notes)
    rows = [{"instruction": f"Is {number} odd?", "output": "no"} for number in (2, 4, 6)]
    few = jsonl(tmp_path / "few.jsonl", rows)
    random = broken(tmp_path / "random", randomize)
    found = preflight(recipe(random, few, tmp_path / "run"))
    assert found.refusals == []
    assert any("too few to judge" in note for note in found.notes)


@pytest.mark.slow
def test_a_wrong_template_is_refused_with_the_right_one(questions, tmp_path):
    data = {"eval": str(questions), "template": "alpaca"}
    found = preflight(recipe(ASSETS / "teacher", questions, tmp_path / "run", data_settings=data))
    assert len(found.refusals) == 1, found.refusals
    assert "does not expect the template alpaca" in found.refusals[0]
    assert "set data.template: plain" in found.refusals[0]


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "weights" / "bench").is_dir(), reason="needs STILLROOM_DATA")
@pytest.mark.parametrize(("template", "refused"), [("alpaca", 0), ("plain", 1)])
def test_a_teacher_of_another_template_on_real_instructions(template, refused, tmp_path):
    dolly = {
        name: str(DATA / "dolly" / f"minillm_{split}.jsonl")
        for name, split in (("eval", "dev"), ("train", "dev"))
    }
    student = {"model": str(DATA / "weights" / "bench" / "student")}
    found = preflight(
        recipe(
            DATA / "weights" / "bench" / "teacher",
            Path(dolly["train"]),
            tmp_path / "run",
            student=student,
            data_settings={"eval": dolly["eval"], "template": template},
        )
    )
    assert len(found.refusals) == refused, found.refusals


@pytest.mark.slow
def test_training_refuses_too_and_can_be_told_not_to(tmp_path):
    from stillroom.recipe.run import run_recipe

    teacher, student = (
        model_folder(tmp_path / "teacher", seed=2, width=32),
        model_folder(tmp_path / "student", seed=1),
    )
    data = jsonl(tmp_path / "data.jsonl", QUESTIONS)

    def again(name: str, choice: str):
        sections = {
            "student": {"model": str(student)},
            "teacher": {"model": str(teacher), "preflight": choice},
        }
        settings = {"template": "alpaca", "max_length": 64}
        return recipe(teacher, data, tmp_path / name, **sections, data_settings=settings)

    with pytest.raises(BadInput, match=r"teacher\.preflight: note"):
        run_recipe(again("refused", "refuse"))
    noted = run_recipe(again("noted", "note"))
    assert any(note.startswith("preflight: the teacher") for note in noted.notes)
    assert noted.models["teacher"]["unchanged"] is True


@pytest.mark.slow
def test_a_run_trains_the_same_student_with_and_without(tmp_path):
    from safetensors.torch import load_file

    from stillroom.recipe.run import run_recipe

    teacher, student = (
        model_folder(tmp_path / "teacher", seed=2, width=32),
        model_folder(tmp_path / "student", seed=1),
    )
    config = json.loads((student / "config.json").read_text()) | {"attention_dropout": 0.3}
    (student / "config.json").write_text(json.dumps(config))  # so that random numbers are drawn in training
    data = jsonl(tmp_path / "data.jsonl", QUESTIONS)
    weights = []
    for choice in ("note", "off"):
        sections = {
            "student": {"model": str(student)},
            "teacher": {"model": str(teacher), "preflight": choice},
        }
        objectives = [{"use": "logits.forward_kl"}, {"use": "hidden.layerwise"}]
        settings = {"template": "alpaca", "max_length": 64}
        run = tmp_path / choice
        run_recipe(recipe(teacher, data, run, **sections, objectives=objectives, data_settings=settings))
        weights.append(load_file(run / "student" / "model.safetensors"))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])


@pytest.mark.slow
def test_a_teacher_that_changes_in_training_is_found_out(tmp_path, monkeypatch):
    from stillroom.recipe import run
    from stillroom.training.trainer import DistillationTrainer

    teacher, student = model_folder(tmp_path / "teacher", seed=2), model_folder(tmp_path / "student", seed=1)
    data = jsonl(tmp_path / "data.jsonl", QUESTIONS)
    train = DistillationTrainer.train

    def meddle(self, **settings):
        train(self, **settings)
        self.teacher.model.lm_head.weight.add_(1e-3)

    monkeypatch.setattr(DistillationTrainer, "train", meddle)
    sections = {"student": {"model": str(student)}, "teacher": {"model": str(teacher), "preflight": "off"}}
    settings = {"template": "alpaca", "max_length": 64}
    summary = run.run_recipe(recipe(teacher, data, tmp_path / "run", **sections, data_settings=settings))
    assert summary.models["teacher"]["unchanged"] is False
    assert any("weights changed" in note for note in summary.notes)


@pytest.mark.slow
def test_what_a_cache_holds_is_checked(tmp_path):
    from stillroom.recipe.cache import write_cache

    teacher, student = model_folder(tmp_path / "teacher", seed=2), model_folder(tmp_path / "student", seed=1)
    data = jsonl(tmp_path / "data.jsonl", QUESTIONS)
    for number, (objective, words) in enumerate(
        (
            ({"use": "logits.forward_kl"}, "the teacher"),
            ({"use": "logits.forward_kl", "top_k": 8}, "the teacher"),
            ({"use": "hidden.layerwise"}, "could not be checked"),
        )
    ):
        cache = str(tmp_path / f"cache{number}")
        sections = {"student": {"model": str(student)}, "objectives": [objective]}
        settings = {"template": "alpaca", "max_length": 64}
        live = {"teacher": {"model": str(teacher), "cache": cache}}
        write_cache(recipe(teacher, data, tmp_path / "run", **sections, **live, data_settings=settings))
        cached = {"teacher": {"model": str(teacher), "cache": cache, "use": "cached"}}
        found = preflight(
            recipe(teacher, data, tmp_path / "run", **sections, **cached, data_settings=settings)
        )
        said = [*found.refusals, *found.notes]
        assert any(words in sentence for sentence in said), said
