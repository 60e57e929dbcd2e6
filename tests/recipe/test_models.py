"""What run.json says of a model, and configurations with entries of one's own."""

import pytest
import torch
from tiny import tiny_llama

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
