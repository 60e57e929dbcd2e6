"""Several teachers in a recipe: refused before weights are loaded, trained from, cached, examined."""

import json

import pytest
from folders import QUESTIONS, jsonl, model_folder, tiny_tokenizer
from pydantic import ValidationError
from transformers import Gemma2Config

from stillroom.core.errors import BadInput
from stillroom.recipe.cache import write_cache
from stillroom.recipe.load import load_recipe
from stillroom.recipe.prepare import prepare
from stillroom.recipe.run import run_recipe
from stillroom.recipe.schema import Teacher


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    model_folder(root / "first", seed=2, width=32)
    model_folder(root / "second", seed=3)
    model_folder(root / "student", seed=1)
    model_folder(root / "stranger", seed=4, tokenizer=tiny_tokenizer(["other words"], vocab_size=280))
    jsonl(root / "data.jsonl", QUESTIONS)
    return root


def recipe(world, output, teacher=(), **changes):
    values = {
        "student": {"model": str(world / "student")},
        "teacher": {"model": str(world / "first"), "others": [str(world / "second")], "preflight": "note"}
        | dict(teacher),
        "data": {"train": str(world / "data.jsonl"), "eval": str(world / "data.jsonl"), "eval_limit": 4},
        "objectives": ["logits.forward_kl", {"use": "attention.squeeze_heads", "student_layers": [2]}],
        "training": {
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "use_cpu": True,
            "save_strategy": "no",
        },
        "evaluation": {"prompts": 1, "max_new_tokens": 2, "metrics": ["loss", "teacher_kl"]},
        "output": str(output),
    }
    return load_recipe(values=values | changes)


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_a_run_learns_from_both_and_says_so(combine, world, tmp_path):
    summary = run_recipe(recipe(world, tmp_path / "run", {"combine": combine, "shares": [2, 1]}))
    assert summary.exit == "done"
    teacher = summary.models["teacher"]
    assert teacher["source"] == f"{world / 'first'} + {world / 'second'}"
    assert teacher["parameters"] == sum(each["parameters"] for each in teacher["members"])
    assert teacher["unchanged"]
    assert teacher["combine"] == combine
    assert set(summary.teacher) == {"loss"}
    assert summary.final["teacher_kl"] > 0
    assert any("preflight" in note for note in summary.notes)  # teachers of random weights are at chance
    assert "teacher" not in json.loads((tmp_path / "run" / "samples.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_a_cache_of_both_serves_them_and_no_others(combine, world, tmp_path):
    objectives = [{"use": "logits.forward_kl", "top_k": 8 if combine == "probabilities" else None}]
    quiet = {"objectives": objectives, "evaluation": {"prompts": 0, "metrics": ["loss"]}}
    teacher = {"combine": combine, "cache": str(tmp_path / "cache")}
    live = run_recipe(recipe(world, tmp_path / "live", teacher, **quiet))
    assert write_cache(recipe(world, tmp_path / "x", teacher, **quiet), precision="float32").computed == 40
    cached = run_recipe(recipe(world, tmp_path / "cached", teacher | {"use": "cached"}, **quiet))
    assert cached.final["loss"] == pytest.approx(live.final["loss"], abs=1e-5)
    assert cached.models["teacher"]["parameters"] == live.models["teacher"]["parameters"]
    for other in (
        {"shares": [2, 1]},
        {"others": []},
        {"combine": {"logits": "probabilities"}.get(combine, "logits")},
    ):
        with pytest.raises(BadInput, match="the cache was written with"):
            prepare(recipe(world, tmp_path / "other", teacher | {"use": "cached"} | other, **quiet))


def test_what_a_cache_cannot_hold_is_said_before_the_weights(world, tmp_path):
    teacher = {"combine": "probabilities", "cache": str(tmp_path / "cache")}
    with pytest.raises(BadInput, match="as top tokens only; give the objectives on logits top_k"):
        write_cache(recipe(world, tmp_path / "x", teacher, objectives=["logits.forward_kl"]))
    assert not (tmp_path / "cache").exists()


def test_another_vocabulary_is_refused_by_name(world, tmp_path):
    with pytest.raises(BadInput, match=r"teacher\.others: .*stranger: .* share one vocabulary"):
        prepare(recipe(world, tmp_path, {"others": [str(world / "second"), str(world / "stranger")]}))


def test_rows_beyond_the_tokenizer_are_trimmed_from_all(world, tmp_path):
    rows = len(tiny_tokenizer())
    model_folder(tmp_path / "padded", seed=5, rows=rows + 7)
    prepared = prepare(recipe(world, tmp_path / "run", {"others": [str(tmp_path / "padded")]}))
    assert prepared.vocab_size == rows
    assert any(f"{rows} and {rows + 7} (teacher) rows" in note for note in prepared.notes)


def test_a_soft_cap_is_found_without_weights(world, tmp_path):
    tokenizer = tiny_tokenizer()
    capped = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        architectures=["Gemma2ForCausalLM"],
    )
    capped.save_pretrained(tmp_path / "capped")
    tokenizer.save_pretrained(tmp_path / "capped")
    with pytest.raises(BadInput, match=r"teacher\.combine: .* use combine: probabilities"):
        prepare(recipe(world, tmp_path / "run", {"others": [str(tmp_path / "capped")]}))


def test_others_that_are_asked_nothing_are_a_note(world, tmp_path):
    alone = ["hard.cross_entropy", {"use": "attention.squeeze_heads", "student_layers": [2]}]
    prepared = prepare(recipe(world, tmp_path / "run", objectives=alone))
    assert any("loaded and asked nothing" in note for note in prepared.notes)


@pytest.mark.parametrize(
    ("teacher", "words"),
    [
        ({"others": ["first"]}, "first is named twice"),
        ({"others": ["a"], "shares": [1.0]}, "1 shares for 2 teachers"),
        ({"others": [], "shares": [1.0, 2.0]}, "2 shares for 1 teachers"),
        ({"others": ["a"], "shares": [1.0, 0.0]}, "more than 0"),
        ({"use": "ensemble"}, "the rest under others"),
        ({"others": ["no/such/place"]}, "there is no folder"),
    ],
)
def test_bad_settings_get_one_sentence(teacher, words, world, tmp_path):
    teacher = {"model": "first"} | teacher
    with pytest.raises((BadInput, ValidationError), match=words):
        recipe(world, tmp_path, teacher)


def test_one_teacher_needs_no_new_word():
    assert Teacher(model="a").model_dump(include={"others", "combine", "shares"}) == {
        "others": [],
        "combine": "logits",
        "shares": None,
    }
