"""A teacher with another tokenizer: trained from, resumed, cached, marked; refused where tokens must be the same."""

import json

import pytest
import torch
from folders import CHAT, QUESTIONS, jsonl, model_folder, space_tokenizer, tiny_tokenizer
from safetensors.torch import load_file
from transformers import ByT5Tokenizer, LlamaConfig

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.recipe.build import build
from stillroom.recipe.cache import write_cache
from stillroom.recipe.load import load_recipe
from stillroom.recipe.prepare import prepare
from stillroom.recipe.readiness import _Interview
from stillroom.recipe.run import run_recipe
from stillroom.recipe.vocabularies import read_vocabularies

BOTH = ["hard.cross_entropy", "vocabulary.shared_kl"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    texts = [row["output"] for row in QUESTIONS]
    model_folder(root / "student", seed=1, tokenizer=tiny_tokenizer(chat_template=CHAT))
    model_folder(root / "same", seed=3, tokenizer=tiny_tokenizer(chat_template=CHAT))
    model_folder(root / "teacher", seed=2, width=32, tokenizer=space_tokenizer(texts, chat_template=CHAT))
    model_folder(root / "padded", seed=2, width=32, rows=400, tokenizer=space_tokenizer(texts))
    jsonl(root / "data.jsonl", QUESTIONS)
    return root


def recipe(world, output, **changes):
    values = {
        "student": {"model": str(world / "student")},
        "teacher": {"model": str(world / "teacher"), "preflight": "note"},
        "data": {"train": str(world / "data.jsonl"), "eval": str(world / "data.jsonl"), "eval_limit": 4},
        "objectives": BOTH,
        "training": {
            "max_steps": 4,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "save_strategy": "no",
        },
        "evaluation": {"prompts": 1, "max_new_tokens": 2},
        "output": str(output),
    }
    return load_recipe(values=values | changes)


def test_a_run_says_that_there_are_two_and_marks_each_in_its_own_tokens(world, tmp_path):
    summary = run_recipe(recipe(world, tmp_path / "run"))
    assert summary.exit == "done"
    assert any("two vocabularies" in note and "same bytes" in note for note in summary.notes)
    assert any("agreement and teacher_kl compare token by token" in note for note in summary.notes)
    assert set(summary.final) == {"loss", "perplexity", "bits_per_byte", "rouge_l"}
    assert set(summary.teacher) == set(summary.final)
    assert summary.models["student"]["vocabulary"] != summary.models["teacher"]["vocabulary"]
    assert summary.data["train"]["samples"] == 40
    assert summary.data["train"]["teacher_response_tokens"] != summary.data["train"]["response_tokens"]
    answers = json.loads((tmp_path / "run" / "samples.jsonl").read_text().splitlines()[0])
    assert {"teacher", "baseline", "student"} <= set(answers)


def test_a_resumed_run_trains_the_same_student(world, tmp_path):
    often = {"max_steps": 4, "per_device_train_batch_size": 2, "use_cpu": True, "save_steps": 2}
    whole = recipe(world, tmp_path / "whole", training=often, objectives=["dual_space.dskd"])
    parts = recipe(world, tmp_path / "parts", training=often, objectives=["dual_space.dskd"])
    run_recipe(whole)
    run_recipe(parts)
    for name in ("run.json", "student/model.safetensors"):
        (tmp_path / "parts" / name).unlink()
    last = tmp_path / "parts" / "checkpoint-4"
    last.rename(tmp_path / "gone")
    run_recipe(parts, resume=True)
    for name in ("student/model.safetensors", "objective.safetensors"):
        ours, theirs = (load_file(tmp_path / run / name) for run in ("whole", "parts"))
        assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
        assert ours.keys() == theirs.keys()


def test_rows_without_a_token_take_no_part(world, tmp_path):
    teacher = {"model": str(world / "padded"), "preflight": "off"}
    prepared = prepare(recipe(world, tmp_path / "run", teacher=teacher))
    assert prepared.vocabularies.teacher.size == 330
    assert any("teacher's head has 400 rows and its tokenizer 330 ids" in note for note in prepared.notes)


def test_every_objective_for_one_vocabulary_is_refused_with_those_that_would_do(world, tmp_path):
    refused = [name for name in objectives.names() if not objectives.find(name).two_vocabularies]
    assert {"logits.forward_kl", "hidden.projector", "attention.sharp"} <= set(refused)
    for name in refused:
        with pytest.raises(BadInput, match=rf"(?s){name} compares token by token.*vocabulary\.shared_kl"):
            prepare(recipe(world, tmp_path / "run", objectives=[name]))


@pytest.mark.parametrize(
    "name", [name for name in objectives.names() if objectives.find(name).two_vocabularies]
)
def test_every_objective_for_two_trains(name, world, tmp_path):
    summary = run_recipe(
        recipe(world, tmp_path / "run", objectives=[name], evaluation={"prompts": 0, "metrics": ["loss"]})
    )
    assert summary.exit == "done"
    assert set(summary.final) == {"loss", "bits_per_byte"}


def test_a_cache_serves_what_the_teacher_would_say(world, tmp_path):
    quiet = {"evaluation": {"prompts": 0, "metrics": ["loss"]}}
    teacher = {
        "model": str(world / "teacher"),
        "preflight": "note",
        "dtype": "float32",
        "cache": str(tmp_path / "cache"),
    }
    live = run_recipe(recipe(world, tmp_path / "live", teacher=teacher, **quiet))
    assert (
        write_cache(recipe(world, tmp_path / "x", teacher=teacher, **quiet), precision="float32").computed
        == 40
    )
    cached = run_recipe(recipe(world, tmp_path / "cached", teacher=teacher | {"use": "cached"}, **quiet))
    assert cached.final["loss"] == pytest.approx(live.final["loss"], abs=1e-5)


def test_preflight_compares_models_on_the_same_samples_also_where_one_answers_from_a_cache(world, tmp_path):
    jsonl(tmp_path / "held.jsonl", QUESTIONS[::-1])
    data = {"train": str(world / "data.jsonl"), "eval": str(tmp_path / "held.jsonl")}
    teacher = {"model": str(world / "teacher"), "dtype": "float32", "cache": str(tmp_path / "cache")}
    write_cache(recipe(world, tmp_path / "x", teacher=teacher, data=data))
    prepared = prepare(recipe(world, tmp_path / "y", teacher=teacher | {"use": "cached"}, data=data))
    built = build(prepared, lambda done, total, detail="": None)
    interview = _Interview(prepared, built, torch.device("cpu"), batches=1)
    ours, theirs = interview._items("student"), interview._items("teacher")
    assert [each["sample_ids"] for each in ours] == [each["sample_ids"] for each in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine["byte_ends"].max() == yours["byte_ends"].max()
        assert len(mine["input_ids"]) != len(yours["input_ids"])


def test_answers_of_the_teacher_must_fit_behind_its_own_prompts(world, tmp_path):
    long = [{"instruction": "\u2603" * 40, "output": "snow"}] * 4
    jsonl(tmp_path / "long.jsonl", long)
    data = {"train": str(world / "data.jsonl"), "eval": str(tmp_path / "long.jsonl"), "template": "plain"}
    with pytest.raises(BadInput, match=r"evaluation\.max_new_tokens: .* but the teacher has 512"):
        prepare(recipe(world, tmp_path / "run", data=data, evaluation={"prompts": 1, "max_new_tokens": 392}))


def test_one_vocabulary_needs_no_bytes():
    tokenizers = {"student": ByT5Tokenizer(), "teacher": ByT5Tokenizer()}
    configs = dict.fromkeys(tokenizers, LlamaConfig(vocab_size=len(tokenizers["student"])))
    assert read_vocabularies(tokenizers, configs, wants_tokens=True).student.tokens is None
    other = tokenizers | {"teacher": tiny_tokenizer()}
    with pytest.raises(BadInput, match=r"student: the tokenizer has no definition to read bytes from"):
        read_vocabularies(other, configs)


def test_chat_templates_may_differ(world, tmp_path):
    data = {"train": str(world / "data.jsonl"), "template": "chat"}
    prepared = prepare(recipe(world, tmp_path / "run", data=data))
    item = prepared.train[0]
    assert item["byte_ends"].max() == item["teacher_byte_ends"].max()  # both end tokens close the answer


def test_a_tokenizer_of_the_same_tokens_that_cuts_otherwise_is_another_vocabulary(world, tmp_path):
    spaced = tiny_tokenizer()
    definition = json.loads(spaced.backend_tokenizer.to_str())
    definition["pre_tokenizer"]["add_prefix_space"] = True
    (tmp_path / "teacher").mkdir()
    model_folder(tmp_path / "teacher", seed=2)
    (tmp_path / "teacher" / "tokenizer.json").write_text(json.dumps(definition))
    prepared = prepare(recipe(world, tmp_path / "run", teacher={"model": str(tmp_path / "teacher")}))
    assert prepared.vocabularies.are_two


def test_several_teachers_need_the_students_vocabulary(world, tmp_path):
    teacher = {"model": str(world / "teacher"), "others": [str(world / "same")]}
    with pytest.raises(
        BadInput, match=r"teacher\.others: several teachers answer as one over one vocabulary"
    ):
        prepare(recipe(world, tmp_path / "run", teacher=teacher))


def test_a_best_metric_against_the_teacher_is_refused(world, tmp_path):
    training = {
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "eval_steps": 2,
        "save_steps": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "teacher_kl",
    }
    with pytest.raises(BadInput, match=r"metric_for_best_model: teacher_kl compares token by token"):
        prepare(recipe(world, tmp_path / "run", training=training))
