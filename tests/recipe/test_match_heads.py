"""Matching heads from a recipe: the likeness of the teacher's own maps, and a file that names its pairs."""

import json
from pathlib import Path

import pytest
import torch
from folders import QUESTIONS, jsonl, model_folder, tiny_tokenizer
from reference.attention_map import attention_map
from transformers import FalconConfig, LlamaConfig, LlamaForCausalLM

from stillroom.cli.match_heads import match_heads
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.head_groups import read_head_groups
from stillroom.core.signals import QueryKey
from stillroom.recipe import match_heads as verb
from stillroom.recipe.load import load_recipe
from stillroom.recipe.match_heads import write_groups
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of four heads, a student of three, and a recipe."""
    root = tmp_path_factory.mktemp("heads")
    model_folder(root / "teacher", seed=2, width=32)
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=3,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(root / "student")
    tokenizer.save_pretrained(root / "student")
    jsonl(root / "data.jsonl", QUESTIONS[:12])
    (root / "recipe.yaml").write_text(f"""
student: {{model: {root / "student"}}}
teacher: {{model: {root / "teacher"}}}
data: {{train: {root / "data.jsonl"}, max_length: 64}}
objectives: [logits.forward_kl]
training: {{max_steps: 1, per_device_train_batch_size: 3, gradient_accumulation_steps: 1, use_cpu: true}}
evaluation: {{prompts: 0}}
output: {root / "run"}
""")
    return root


def expected(place: Path, rows: str) -> list[torch.Tensor]:
    """Means over all samples, from whole maps of one sample at a time."""
    prepared = verb.prepare(load_recipe(place / "recipe.yaml"))
    model = LlamaForCausalLM.from_pretrained(place / "teacher").eval()
    requests = [QueryKey(1), QueryKey(2)]
    prepare(model, requests)
    totals = [torch.zeros(4, 4, dtype=torch.float64) for _ in requests]
    for index in range(12):
        side = Batch.from_inputs(verb.collator(prepared)([prepared.train[index]])).teacher
        with torch.no_grad():
            signals = capture(model, side, requests)
        kept = (side.attention_mask.bool() if rows == "real" else side.predicts)[0]
        for total, request in zip(totals, requests, strict=True):
            seen = signals[request]
            maps = attention_map(seen.query, seen.key, side.attention_mask, seen.scaling)[0][:, kept]
            flat = torch.nn.functional.normalize(maps.flatten(1), dim=1)
            total += flat @ flat.T / 12
    return totals


@pytest.mark.parametrize("rows", ["real", "response"])
def test_likeness_is_that_of_the_maps_and_the_best_pair_becomes_one(
    place: Path, tmp_path: Path, rows
) -> None:
    path = tmp_path / "groups.json"
    found = write_groups(load_recipe(place / "recipe.yaml"), path, batches=9, rows=rows)
    assert read_head_groups(path) == found
    assert (found.samples, found.teacher_heads, found.student_heads) == (12, 4, 3)
    assert len(found.weights or "") == len(found.data) == 64
    for layer, alike in enumerate(expected(place, rows), start=1):
        torch.testing.assert_close(
            torch.tensor(found.similarities[layer], dtype=torch.float64), alike, atol=1e-5, rtol=1e-4
        )
        best = divmod(int((alike - torch.eye(4)).argmax()), 4)
        assert sorted(best) in found.groups[layer]


def test_the_verb_writes_beside_the_recipe(place: Path, capsys: pytest.CaptureFixture) -> None:
    match_heads(place / "recipe.yaml", batches=2, quiet=True)
    said = capsys.readouterr().out
    assert (
        f"4 heads become 3 in 2 layers, by their likeness on 6 samples: {place / 'head_groups.json'}" in said
    )
    match_heads(place / "recipe.yaml", batches=2, quiet=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["samples"] == 6


def test_what_cannot_be_matched_is_refused_before_weights(place: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verb, "load_teacher", lambda choice: pytest.fail("weights were loaded"))
    path, recipe = tmp_path / "g.json", place / "recipe.yaml"
    for student, teacher, words in (
        ("teacher", "teacher", "one to one"),
        ("teacher", "student", "none can be"),
    ):
        sets = [f"student.model={place / student}", f"teacher.model={place / teacher}"]
        with pytest.raises(
            BadInput, match=f"more heads than the student, whose 4 heads face . *: ?.*{words}"
        ):
            write_groups(load_recipe(recipe, sets), path)
    with pytest.raises(BadInput, match='"real" or "response", got \'all\''):
        write_groups(load_recipe(recipe), path, rows="all")
    with pytest.raises(BadInput, match=f"{tmp_path} cannot be written: expected a file"):
        write_groups(load_recipe(recipe), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"g\.json cannot be written"):
        write_groups(load_recipe(recipe), tmp_path / "file" / "g.json")
    ids = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0}
    FalconConfig(**ids, hidden_size=32, num_hidden_layers=2, num_attention_heads=4).save_pretrained(
        tmp_path / "t"
    )
    with pytest.raises(BadInput, match=f"the heads of {tmp_path / 't'} have no maps.*type 'falcon'"):
        write_groups(load_recipe(recipe, [f"teacher.model={tmp_path / 't'}"]), path)
    assert not path.exists()


def test_objectives_are_not_looked_at(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them may be waiting for the very file."""
    monkeypatch.setattr("stillroom.objectives.find", lambda name: pytest.fail(f"{name} was looked at"))
    assert write_groups(load_recipe(place / "recipe.yaml"), tmp_path / "g.json", batches=1).samples == 3
