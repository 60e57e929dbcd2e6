"""The teacher with a second tokenizer: what its vocabulary is, and what its first weights are."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import QUESTIONS, TEXT, jsonl, model_folder
from transformers import LlamaForCausalLM

from stillroom.alignment.byte_table import byte_table
from stillroom.alignment.reader import Reader
from stillroom.compare.plan import read_plan, resolve
from stillroom.recipe.load import load_recipe
from stillroom.recipe.models import load_tokenizer

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location(
    "second_teacher", ROOT / "benchmarks" / "dolly" / "second_teacher.py"
)
second = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(second)

WORDS = [*TEXT, "In 1984, the house (it's old) had 12 jars.", "the names of the houses"]
STRANGE = "In 1985\n\nit's  caf\u00e9 \u6f22"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny teacher of two layers, the text, and the folder of the model that was made of both."""
    folder = tmp_path_factory.mktemp("second")
    model_folder(folder / "teacher", seed=3)
    text = jsonl(folder / "text.jsonl", [{"text": "\n".join(WORDS), "number": 1}, {"text": "the stillroom"}])
    second.main(
        ["--teacher", str(folder / "teacher"), "--text", str(text), "--output", str(folder / "second")]
    )
    return folder


def test_the_vocabulary_is_specials_then_bytes_then_pieces(made):
    tokenizer = load_tokenizer(str(made / "second"), "teacher")
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3, 258]) == ["<unk>", "<s>", "</s>", "<0x00>", "<0xFF>"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    table = byte_table(tokenizer.backend_tokenizer.to_str())
    assert table.dummy_prefix
    assert np.flatnonzero(table.special).tolist() == [0, 1, 2]
    assert np.flatnonzero(table.fallback).tolist() == list(range(3, 259))
    assert b" the" in table.pieces
    assert not any(b"\n" in piece and len(piece) > 1 for piece in table.pieces)


def test_text_is_cut_as_sentence_piece_cuts_it_and_comes_back(made):
    tokenizer = load_tokenizer(str(made / "second"), "teacher")
    tokens = tokenizer(STRANGE).tokens()
    assert tokens[0] == "<s>"
    assert tokens[tokens.index("▁1") :][:6] == ["▁1", "9", "8", "<0x35>", "<0x0A>", "<0x0A>"]
    assert "'" in tokens
    assert tokenizer.decode(tokenizer(STRANGE, add_special_tokens=False).input_ids) == STRANGE
    reading = Reader(tokenizer.backend_tokenizer.to_str()).read(STRANGE)
    assert reading.ends[-1] == len(STRANGE.encode())
    assert 0 not in reading.ids


def test_a_size_is_kept():
    assert len(second.train_tokenizer(WORDS, size=300)) == 300


def test_rows_are_means_of_the_rows_of_the_same_bytes(made):
    old_rows, rows = (
        LlamaForCausalLM.from_pretrained(made / name).get_input_embeddings().weight.detach()
        for name in ("teacher", "second")
    )
    old, new = (load_tokenizer(str(made / name), "teacher") for name in ("teacher", "second"))
    byte_of = {
        bytes([byte]): index
        for index, piece in enumerate(byte_table(old.backend_tokenizer.to_str()).pieces)
        for byte in range(256)
        if piece == bytes([byte])
    }
    kinds = set()
    for index, token in enumerate(new.convert_ids_to_tokens(range(3, len(new))), start=3):
        text = bytes([index - 3]) if index < 259 else token.replace("▁", " ").encode()
        ids = [byte_of[text]] if text in byte_of else old(text.decode(), add_special_tokens=False).input_ids
        expected = sum(old_rows[each].double() for each in ids) / len(ids)
        torch.testing.assert_close(rows[index].double(), expected, atol=1e-6, rtol=0)
        if len(ids) == 1:
            assert torch.equal(rows[index], old_rows[ids[0]])
        kinds.add(len(ids) > 1)
    assert kinds == {True, False}
    assert torch.equal(rows[2], old_rows[0])
    assert torch.equal(rows[0], old_rows.mean(0))
    assert not torch.equal(rows[2], old_rows.mean(0))


def test_a_head_of_its_own_is_moved_like_the_embeddings(made):
    head = LlamaForCausalLM.from_pretrained(made / "second").get_output_embeddings().weight
    old_head = LlamaForCausalLM.from_pretrained(made / "teacher").get_output_embeddings().weight
    embedding = LlamaForCausalLM.from_pretrained(made / "second").get_input_embeddings().weight
    assert torch.equal(head[2], old_head[0])
    assert not torch.equal(head, embedding)


def test_tied_embeddings_stay_tied(made):
    body = LlamaForCausalLM.from_pretrained(made / "teacher")
    body.config.tie_word_embeddings = True
    body.tie_weights()
    old, new = (load_tokenizer(str(made / name), "teacher") for name in ("teacher", "second"))
    before = body.get_input_embeddings().weight.detach().clone()
    moved = second.transplant(body, old, new)
    assert moved.get_input_embeddings().weight is moved.get_output_embeddings().weight
    assert torch.equal(moved.get_input_embeddings().weight[2], before[0])


def test_the_body_stays_and_speaks_the_new_ids(made):
    old, new = (LlamaForCausalLM.from_pretrained(made / name) for name in ("teacher", "second"))
    theirs = dict(old.model.named_parameters())
    for name, weight in new.model.named_parameters():
        assert name.startswith("embed") or torch.equal(weight, theirs[name])
    assert (new.config.bos_token_id, new.config.eos_token_id, new.config.pad_token_id) == (1, 2, 0)
    assert new.generation_config.eos_token_id == 2
    assert new.config.vocab_size == len(load_tokenizer(str(made / "second"), "teacher"))


@pytest.mark.parametrize(("layers", "kept"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 4])])
def test_layers_are_kept_evenly(tmp_path, layers, kept):
    from tiny import tiny_llama

    deep = tiny_llama(1, vocab_size=300, layers=5)
    torch.nn.init.normal_(deep.model.norm.weight)
    deep.save_pretrained(tmp_path / "deep")
    shallow = second.load_body(str(tmp_path / "deep"), layers)
    assert len(shallow.model.layers) == shallow.config.num_hidden_layers == layers
    for new, old in enumerate(kept):
        ours, theirs = shallow.model.layers[new].state_dict(), deep.model.layers[old].state_dict()
        assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    assert torch.equal(shallow.get_output_embeddings().weight, deep.get_output_embeddings().weight)
    assert torch.equal(shallow.model.norm.weight, deep.model.norm.weight)
    assert torch.isfinite(shallow(input_ids=torch.arange(4)[None]).logits).all()


def test_too_many_layers_are_refused_in_a_sentence(made, capsys):
    given = [
        "--teacher",
        str(made / "teacher"),
        "--text",
        str(made / "text.jsonl"),
        "--output",
        str(made / "x"),
    ]
    with pytest.raises(SystemExit, match=r"--layers: expected between 1 and the 2 layers of .*, got 3"):
        second.main([*given, "--layers", "3"])


def test_the_recipe_trains_what_the_script_writes(tmp_path, monkeypatch):
    for name in ("minillm_train.jsonl", "minillm_dev.jsonl"):
        jsonl(tmp_path / name, QUESTIONS)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(ROOT / "benchmarks" / "dolly" / "second_teacher.yaml")
    assert recipe.teacher is None
    assert recipe.student.model in second.__doc__


def test_every_variant_of_the_comparison_is_a_recipe_with_this_teacher(made, tmp_path, monkeypatch):
    (tmp_path / "pair").mkdir()
    (tmp_path / "pair" / "student").symlink_to(made / "teacher")
    (tmp_path / "pair" / "second-teacher").symlink_to(made / "second")
    for name in ("minillm_train.jsonl", "minillm_dev.jsonl"):
        jsonl(tmp_path / name, QUESTIONS)
    monkeypatch.chdir(tmp_path)
    plan = read_plan(ROOT / "benchmarks" / "dolly" / "two_tokenizers.yaml")
    for variant in plan.variants:
        recipe = resolve(plan, variant, 10, tmp_path / "run", {}, ())
        assert {each.use.split(".")[0] for each in recipe.objectives} <= {"hard", "vocabulary", "dual_space"}
