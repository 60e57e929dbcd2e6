"""What run.json says of a model, and configurations with entries of one's own."""

import json
import re

import pytest
import torch
from tiny import tiny_llama
from transformers import GPT2Config

from stillroom.core.errors import BadInput
from stillroom.recipe.models import describe, load_config, load_student
from stillroom.recipe.schema import Student


def test_a_buffer_without_dimensions_is_hashed_too():
    model = tiny_llama()
    before = describe(model, "here", "v")["sha256"]
    model.register_buffer("scale", torch.tensor(2.0))
    assert describe(model, "here", "v")["sha256"] != before


def test_entries_of_a_configuration_are_replaced(tmp_path):
    tiny_llama().config.save_pretrained(tmp_path)
    assert load_config(str(tmp_path), "student", {"num_hidden_layers": 7}).num_hidden_layers == 7
    with pytest.raises(BadInput, match=r"student.config: 'num_layerz' is no entry .* of a llama model"):
        load_config(str(tmp_path), "student", {"num_layerz": 7})
    with pytest.raises(BadInput, match="'num_hidden_layers' expected int, got str"):
        load_config(str(tmp_path), "student", {"num_hidden_layers": "seven"})


def test_a_student_with_random_weights_has_the_configuration_asked_for(tmp_path):
    tiny_llama().config.save_pretrained(tmp_path)
    choice = Student(model=str(tmp_path), init="random", config={"num_attention_heads": 2, "head_dim": 8})
    made = load_student(choice, seed=3)
    assert made.model.layers[0].self_attn.q_proj.weight.shape[0] == 2 * 8


def test_entries_that_follow_from_others_follow_from_the_new_ones(tmp_path):
    """Files of older versions of transformers do not say how wide a head is."""
    config = tiny_llama().config.to_dict()
    del config["head_dim"], config["num_key_value_heads"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    changed = load_config(str(tmp_path), "student", {"hidden_size": 24, "num_attention_heads": 3})
    assert (changed.head_dim, changed.num_key_value_heads) == (8, 3)
    GPT2Config(n_layer=3).save_pretrained(tmp_path)
    assert load_config(str(tmp_path), "student", {"num_hidden_layers": 2}).n_layer == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trust_remote_code": True}, "'trust_remote_code' is no entry"),
        ({"revision": "main"}, "'revision' is no entry"),
        ({"to_dict": 1}, "'to_dict' is no entry"),
        ({"model_type": "gpt2"}, "'model_type' says nothing of the architecture"),
        ({"dtype": "bfloat16"}, "'dtype' says nothing of the architecture"),
        ({"hidden_act": "foo"}, "can be made with {'hidden_act': 'foo'}: 'foo'"),
        ({"num_attention_heads": 3}, "student: no model could be loaded"),
        ({"num_key_value_heads": 3}, "can be made with {'num_key_value_heads': 3}: "),
        ({"num_attention_heads": 0}, "by zero"),
        ({"intermediate_size": -1}, "can be made with {'intermediate_size': -1}: "),
    ],
)
def test_what_makes_no_model_is_refused_before_any_weight(tmp_path, changes, words):
    tiny_llama().config.save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=re.escape(words)):
        load_config(str(tmp_path), "student", changes)
