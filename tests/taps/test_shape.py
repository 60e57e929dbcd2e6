"""Sizes as an objective sees them agree with what is recorded."""

import pytest
import torch
from taps.families import CONFIGS, VOCAB, build, family, padded
from transformers import MambaConfig

from stillroom.core.shape import ModelShape
from stillroom.core.signals import Hidden, QueryKey
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare
from stillroom.taps.shape import model_shape

torch.set_num_threads(1)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_shape_agrees_with_the_signals(name: str) -> None:
    model = family(name)
    shape = model_shape(model, None, "identity")
    prepare(model, {QueryKey(1)})
    signals = capture(model, padded(left=False), {QueryKey(1), Hidden(1)})
    query, key = signals[QueryKey(1)].query, signals[QueryKey(1)].key
    assert query.shape == (2, shape.num_heads, 9, shape.head_dim)
    assert key.shape == (2, shape.num_key_value_heads, 9, shape.head_dim)
    assert signals[Hidden(1)].shape == (2, 9, shape.width)
    assert (shape.vocab_size, shape.num_layers, shape.model_type) == (VOCAB, 2, name)


def test_a_model_without_attention_has_no_heads() -> None:
    config = MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4)
    assert model_shape(build(config), None, "abc") == ModelShape(VOCAB, 32, 2, 0, 0, 32, "mamba", "abc")


def test_trimmed_vocabulary() -> None:
    assert model_shape(family("llama"), 40, "abc") == ModelShape(40, 32, 2, 4, 2, 8, "llama", "abc")
