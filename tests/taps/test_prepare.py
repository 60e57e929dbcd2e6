"""Families and requests that cannot be answered are refused by name, before training."""

import pytest
import torch
import transformers as tf
from taps.families import SIZES, VOCAB, build, family, padded

from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, Hidden, Logits, NormedHidden, QueryKey, Values
from stillroom.taps import attention
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare

torch.set_num_threads(1)
SMALL = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
STRANGERS = {
    "gptj": lambda: tf.GPTJConfig(**SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
    "falcon": lambda: tf.FalconConfig(
        **SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=False
    ),
    "bloom": lambda: tf.BloomConfig(**SMALL, hidden_size=32, n_layer=2, n_head=4),
    "gpt_neo": lambda: tf.GPTNeoConfig(
        **SMALL, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
}


@pytest.mark.parametrize("name", sorted(STRANGERS))
def test_families_outside_the_registry_are_refused_by_name(name: str) -> None:
    model = build(STRANGERS[name]())
    before = model.config._attn_implementation
    with pytest.raises(BadInput, match=f"got 0 for 2 layers.*'{name}'"):
        prepare(model, {QueryKey(1)})
    assert model.config._attn_implementation == before
    prepare(model, {Hidden(1), NormedHidden(1), FinalHidden(), Head()})
    with torch.no_grad():
        signals = capture(model, padded(left=False), {Logits(), FinalHidden(), Head(), Hidden(2)})
    torch.testing.assert_close(signals[Head()](signals[FinalHidden()]), signals[Logits()])


def test_attention_sinks_are_refused() -> None:
    config = tf.GptOssConfig(**SIZES, head_dim=8, num_local_experts=2, num_experts_per_tok=1)
    model = build(config)
    with pytest.raises(BadInput, match=r"GptOssAttention uses attention sinks"):
        prepare(model, {Values(1)})
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("request_", [Hidden(3), Hidden(-1), QueryKey(0), QueryKey(3), Values(7)])
def test_layers_out_of_range_name_both_numbers(request_) -> None:
    with pytest.raises(BadInput, match=rf"to 2 .*has 2 layers, got {request_.layer}:"):
        prepare(family("llama"), {request_})


def test_an_unknown_step_before_the_head_is_refused() -> None:
    model = family("llama")
    prepare(model, {NormedHidden(0), NormedHidden(2)})
    model.get_decoder().register_forward_hook(
        lambda module, args, output: type(output)(last_hidden_state=output.last_hidden_state * 1.5)
    )
    with pytest.raises(
        BadInput, match=r"'llama' has something else than a norm behind its last block.*differ"
    ):
        prepare(model, {NormedHidden(1)})


def test_an_unknown_head_transform_is_refused() -> None:
    model = family("llama")
    model.lm_head.register_forward_hook(lambda module, args, output: output * 1.5)
    with pytest.raises(BadInput, match=r"'llama' turns hidden states into logits in an unknown way"):
        prepare(model, {Head(), FinalHidden()})


def test_a_lost_mask_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The known trap: attention registered, mask function not."""

    def blind(module, query, key, value, attention_mask, **keywords):
        return attention.attention(module, query, key, value, None, **keywords)

    def register() -> None:
        tf.AttentionInterface.register("blind", blind)

    monkeypatch.setattr("stillroom.taps.prepare.NAME", "blind")
    monkeypatch.setattr("stillroom.taps.prepare.register", register)
    model = family("llama")
    with pytest.raises(BadInput, match="computes other logits"):
        prepare(model, {QueryKey(1)})
    assert model.config._attn_implementation == "sdpa"


def test_modes_are_restored_and_registration_repeats() -> None:
    model = family("gpt2").train()
    model.transformer.h[0].eval()
    prepare(model, {QueryKey(1), Head()})
    prepare(model, {QueryKey(1), Head()})
    assert model.training
    assert model.transformer.h[1].attn.training
    assert not model.transformer.h[0].attn.training


def test_layers_of_another_kind_are_refused() -> None:
    config = tf.Llama4TextConfig(
        **SIZES, head_dim=8, num_local_experts=1, num_experts_per_tok=1, intermediate_size_mlp=32
    )
    assert config.layer_types[0] == "chunked_attention"
    with pytest.raises(BadInput, match="chunked_attention"):
        prepare(build(config), {QueryKey(1)})
