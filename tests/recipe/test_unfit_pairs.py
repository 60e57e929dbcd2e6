"""Pairs of models and settings that an attention or feature method cannot compare: refused in one sentence, while
there is nothing but a configuration in the folders of the models."""

import json
from pathlib import Path

import pytest
import torch
import transformers as tf
from folders import QUESTIONS, jsonl, model_folder, tiny_tokenizer

from stillroom.core.errors import BadInput
from stillroom.core.head_groups import HeadGroups, write_head_groups
from stillroom.recipe.identity import weights_hash
from stillroom.recipe.load import load_recipe
from stillroom.recipe.prepare import Prepared, prepare

torch.set_num_threads(1)
SQUEEZE = "attention.squeeze_heads"


def llama(vocab_size: int, heads: int, layers: int = 2, positions: int = 256) -> tf.PreTrainedConfig:
    return tf.LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=8 * heads,
        intermediate_size=16,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=0,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with a configuration and a tokenizer each, and text."""
    root, tokenizer = tmp_path_factory.mktemp("unfit"), tiny_tokenizer()
    size = len(tokenizer)
    ids = {"vocab_size": size, "bos_token_id": 0, "eos_token_id": 0}
    configs = {
        "two": llama(size, 2),
        "four": llama(size, 4),
        "deep": llama(size, 4, layers=3, positions=24),
        "falcon": tf.FalconConfig(**ids, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
        "short": tf.GPT2Config(**ids, n_embd=32, n_layer=2, n_head=2, n_positions=24),
        "mamba": tf.MambaConfig(**ids, hidden_size=32, num_hidden_layers=2, state_size=4),
    }
    for name, config in configs.items():
        config.architectures = [tf.AutoModelForCausalLM._model_mapping[type(config)].__name__]
        config.save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    jsonl(root / "data.jsonl", QUESTIONS[:8])
    return root


def prepared(place: Path, student: str, teacher: str, objective: str | dict, **keys: str) -> Prepared:
    return prepare(
        load_recipe(
            values={
                "student": {"model": str(place / student)},
                "teacher": {"model": str(place / teacher), **keys},
                "data": {"train": str(place / "data.jsonl"), "max_length": 64},
                "objectives": ["logits.forward_kl", objective],
                "training": {"max_steps": 1, "use_cpu": True, "gradient_accumulation_steps": 1},
                "evaluation": {"prompts": 0},
                "output": str(place / "run"),
            }
        )
    )


@pytest.mark.parametrize(
    ("student", "teacher", "objective", "says"),
    [
        ("four", "two", SQUEEZE, "student has 4 and the teacher 2: choose attention.relations"),
        (
            "two",
            "four",
            "attention.map_mse",
            "student has 2 and the teacher 4: choose attention.squeeze_heads",
        ),
        ("two", "falcon", SQUEEZE, f"{SQUEEZE} cannot be asked of the teacher: Models of type 'falcon'"),
        ("falcon", "four", "attention.relations", "cannot be asked of the student: Models of type 'falcon'"),
        ("two", "mamba", SQUEEZE, r"compares attention, and the teacher \(mamba\) has none"),
        ("two", "mamba", "attention.sharp", "cannot be asked of the teacher: Models of type 'mamba'"),
        (
            "two",
            "four",
            {"use": SQUEEZE, "student_layers": [3]},
            r"student_layers must lie in \[1, 2\].*got 3",
        ),
        (
            "two",
            "four",
            {"use": "hidden.cka", "teacher_layers": [1, 5]},
            r"teacher_layers must lie in \[0, 2\]",
        ),
        (
            "two",
            "four",
            {"use": "hidden.patient", "student_layers": [1, 2], "teacher_layers": [1]},
            "one partner",
        ),
        ("two", "four", {"use": "attention.relations", "relation_heads": 5}, "16 and 32, got 5"),
        ("two", "four", {"use": SQUEEZE, "attention_temperature": 0}, "attention_temperature must lie in"),
    ],
    ids=str,
)
def test_one_sentence_names_the_objective_and_the_way_out(
    place: Path, student, teacher, objective, says
) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        prepared(place, student, teacher, objective)
    assert str(caught.value).startswith("objectives.1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("teacher", ["falcon", "mamba"])
@pytest.mark.parametrize("objective", ["hidden.layerwise", "logits.reverse_kl"])
def test_families_without_maps_teach_by_other_signals(place: Path, teacher: str, objective: str) -> None:
    assert prepared(place, "two", teacher, objective).teacher_requests


@pytest.mark.parametrize("objective", [SQUEEZE, "attention.relations"])
def test_what_no_cache_holds_is_said_before_one_is_opened(
    place: Path, tmp_path: Path, objective: str
) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({}))
    with pytest.raises(BadInput, match=r"got QueryKey\(layer=\d\).*teacher\.use: live"):
        prepared(place, "two", "four", objective, use="cached", cache=str(tmp_path))


def groups_of(weights: str | None, heads: int = 4, layers: int = 2) -> HeadGroups:
    pairs = [[0, heads - 1], list(range(1, heads - 1))]
    return HeadGroups(
        "somewhere", weights, "", heads, 2, "real", 1, dict.fromkeys(range(1, layers + 1), pairs), {}
    )


def test_groups_serve_the_teacher_that_they_were_measured_on(place: Path, tmp_path: Path) -> None:
    """Its weights, its heads and its depth; what is not on this machine cannot be held against them."""
    path, teacher = tmp_path / "head_groups.json", place / "filled"
    model_folder(teacher, seed=2, width=32)
    own, matched = weights_hash(str(teacher)), {"use": SQUEEZE, "grouping": "matched", "groups": str(path)}
    for weights in (own, None):
        write_head_groups(path, groups_of(weights))
        prepared(place, "two", "filled", matched)
    write_head_groups(path, groups_of("0" * 64))
    prepared(place, "two", "four", matched)
    with pytest.raises(
        BadInput, match=rf"objectives\.1: {path} was written for another teacher.*{teacher}; run"
    ):
        prepared(place, "two", "filled", matched)
    with pytest.raises(
        BadInput, match=rf"{path}: expected groups for teacher layer 3, the file has layers \[1, 2\]"
    ):
        prepared(place, "two", "deep", matched)
    write_head_groups(path, groups_of(own, heads=6))
    with pytest.raises(
        BadInput, match=rf"{path}: expected groups of 4 teacher heads for 2 .*written for 6 and 2"
    ):
        prepared(place, "two", "filled", matched)


def test_answers_to_nothing_are_refused_before_training(place: Path) -> None:
    """Plain text continues an empty prompt, and no model continues no tokens."""
    text = jsonl(place / "text.jsonl", [{"text": each["output"]} for each in QUESTIONS[:8]])
    values = {
        "student": {"model": str(place / "two")},
        "data": {"train": str(text), "eval": str(text), "template": "plain", "max_length": 64},
        "objectives": ["hard.cross_entropy"],
        "training": {"max_steps": 1, "use_cpu": True, "gradient_accumulation_steps": 1},
        "output": str(place / "run"),
    }
    with pytest.raises(BadInput, match=r"evaluation\.prompts: held-out text has no prompt"):
        prepare(load_recipe(values=values))
    assert not prepare(load_recipe(values=values | {"evaluation": {"prompts": 0}})).prompts


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_text_beyond_a_table_of_positions_is_refused(place: Path, role: str) -> None:
    """LLaMA's positions are computed and go on, those of GPT-2 are rows."""
    models = {"student": "two", "teacher": "four"}
    prepared(place, "two", "deep", SQUEEZE)
    models[role] = "short"
    with pytest.raises(
        BadInput, match=rf"data\.max_length: .* but the {role} \(gpt2\) has 24 positions; lower"
    ):
        prepared(place, models["student"], models["teacher"], "logits.reverse_kl")
