"""What is refused by structure alone: models on the meta device, which hold no weight."""

import pytest
import torch
import transformers as tf
from taps.families import CONFIGS, SIZES, VOCAB
from transformers import PreTrainedModel

from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    FinalHidden,
    Head,
    Hidden,
    NormedHidden,
    OutputProjection,
    QueryKey,
    ReceivedAttention,
    Values,
)
from stillroom.taps.structure import check_structure

SMALL = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
STRANGERS = {
    "falcon": lambda: tf.FalconConfig(**SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "bloom": lambda: tf.BloomConfig(**SMALL, hidden_size=32, n_layer=2, n_head=4),
    "gptj": lambda: tf.GPTJConfig(**SMALL, n_embd=32, n_layer=2, n_head=4, rotary_dim=4),
    "mpt": lambda: tf.MptConfig(**SMALL, d_model=32, n_heads=4, n_layers=2),
    "mamba": lambda: tf.MambaConfig(**SMALL, hidden_size=32, num_hidden_layers=2, state_size=4),
}
"""Families whose attention, where they have any, is their own."""


def weightless(config: tf.PreTrainedConfig) -> PreTrainedModel:
    with torch.device("meta"):
        return tf.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_families_that_answer_are_not_refused(name: str) -> None:
    kinds = (Hidden, NormedHidden, QueryKey, Values, OutputProjection, ReceivedAttention)
    check_structure(weightless(CONFIGS[name]()), [kind(layer) for kind in kinds for layer in (1, 2)])


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_families_outside_the_registry_are_refused_by_name(name: str) -> None:
    model = weightless(STRANGERS[name]())
    for request in (QueryKey(1), Values(2), ReceivedAttention(1)):
        with pytest.raises(BadInput, match=f"type '{name}' do not compute attention through"):
            check_structure(model, [request])
    check_structure(model, [Hidden(0), Hidden(2), NormedHidden(0), NormedHidden(2), FinalHidden(), Head()])


def test_a_strangers_code_is_left_to_the_probe() -> None:
    """It may reach the registry by another name."""

    class Own(tf.BloomForCausalLM):
        pass

    with torch.device("meta"):
        check_structure(Own(STRANGERS["bloom"]()), [QueryKey(1)])


@pytest.mark.parametrize(
    "request_", [Hidden(3), NormedHidden(3), QueryKey(0), Values(3), OutputProjection(7)]
)
def test_layers_out_of_range_are_refused(request_) -> None:
    with pytest.raises(BadInput, match=rf"has 2 layers, got {request_.layer}:"):
        check_structure(weightless(CONFIGS["gpt2"]()), [request_])


def test_a_decoder_without_a_norm_behind_its_blocks_is_refused() -> None:
    model = weightless(CONFIGS["llama"]())
    del model.model.norm
    check_structure(model, [Hidden(2)])
    with pytest.raises(
        BadInput, match=r"'llama' to have one norm behind its last block \(norm, ln_f.*found 0"
    ):
        check_structure(model, [NormedHidden(1)])


def test_sinks_and_layers_of_another_kind_are_refused() -> None:
    sinks = tf.GptOssConfig(**SIZES, head_dim=8, num_local_experts=2, num_experts_per_tok=1)
    with pytest.raises(BadInput, match="Layer 2 of 'gpt_oss' uses attention sinks"):
        check_structure(weightless(sinks), [QueryKey(2)])
    chunked = tf.Llama4TextConfig(
        **SIZES, head_dim=8, num_local_experts=1, num_experts_per_tok=1, intermediate_size_mlp=32
    )
    with pytest.raises(BadInput, match=r"layer 1 of 'llama4_text'.*it has chunked_attention"):
        check_structure(weightless(chunked), [Values(1)])


def test_blocks_without_a_plain_projection_are_refused() -> None:
    model = weightless(CONFIGS["llama"]())
    model.model.layers[1].self_attn.o_proj = torch.nn.Identity()
    check_structure(model, [OutputProjection(1)])
    with pytest.raises(BadInput, match="output projection of block 2 of 'llama' to be a plain linear layer"):
        check_structure(model, [OutputProjection(2)])
