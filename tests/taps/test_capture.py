"""What is captured is what the model computes, for every family, and nothing more is computed."""

import pytest
import torch
from reference.attention_map import attention_map
from taps.families import CONFIGS, build, family, padded

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.signals import (
    Embedding,
    FinalHidden,
    Head,
    Hidden,
    Logits,
    NormedHidden,
    QueryKey,
    QueryKeys,
    Request,
    Signals,
    Values,
)
from stillroom.taps.anatomy import blocks
from stillroom.taps.attention import NAME
from stillroom.taps.capture import capture, model_inputs
from stillroom.taps.prepare import prepare

torch.set_num_threads(1)
FAMILIES = sorted(CONFIGS)
ALL = {Logits(), FinalHidden(), Head(), Embedding(), QueryKey(1), QueryKey(2), Values(2)} | {
    Hidden(layer) for layer in range(3)
}


def tapped(name: str, side: Side, requests: set[Request] = ALL) -> Signals:
    model = family(name)
    prepare(model, requests)
    with torch.no_grad():
        return capture(model, side, requests)


@pytest.mark.parametrize("name", FAMILIES)
def test_signals_equal_the_eager_model(name: str) -> None:
    side = padded(left=False)
    real = side.attention_mask.bool()
    signals = tapped(name, side)
    eager = family(name, "eager")
    outputs: list[torch.Tensor] = []
    for module in eager.get_decoder().modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == 2 and not outputs:
            for block in module:
                block.register_forward_hook(
                    lambda m, a, out: outputs.append(out[0] if isinstance(out, tuple) else out)
                )
            break
    with torch.no_grad():
        expected = eager(**model_inputs(eager, side), output_hidden_states=True, output_attentions=True)

    def equal(got: torch.Tensor, want: torch.Tensor) -> None:
        torch.testing.assert_close(got[real], want[real], atol=2e-5, rtol=1e-4)

    equal(signals[Logits()], expected.logits)
    equal(signals[Head()](signals[FinalHidden()]), expected.logits)
    equal(signals[FinalHidden()], expected.hidden_states[-1])
    equal(signals[Hidden(0)], expected.hidden_states[0])
    equal(signals[Hidden(1)], expected.hidden_states[1])
    equal(signals[Hidden(2)], outputs[1])
    for layer in (1, 2):
        seen: QueryKeys = signals[QueryKey(layer)]
        assert seen.query.shape[1] == 4
        rebuilt = attention_map(
            seen.query, seen.key, side.attention_mask, seen.scaling, seen.softcap, seen.window
        )
        eager_map = expected.attentions[layer - 1].double().transpose(1, 2)
        torch.testing.assert_close(rebuilt.transpose(1, 2)[real], eager_map[real], atol=1e-5, rtol=1e-4)
    assert signals[Values(2)].shape[:3] == signals[QueryKey(2)].key.shape[:3]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_normed_layer_is_what_a_model_says_that_ends_there(name: str) -> None:
    side = padded(left=True)
    real = side.attention_mask.bool()
    signals = tapped(name, side, {NormedHidden(1), NormedHidden(2), FinalHidden()})
    assert set(signals) == {NormedHidden(1), NormedHidden(2), FinalHidden()}, (
        "what was needed is not handed out"
    )
    torch.testing.assert_close(signals[NormedHidden(2)][real], signals[FinalHidden()][real])
    shorter = family(name)
    del blocks(shorter)[1]
    with torch.no_grad():
        expected = shorter.get_decoder()(**model_inputs(shorter.get_decoder(), side)).last_hidden_state
    torch.testing.assert_close(signals[NormedHidden(1)][real], expected[real], atol=2e-5, rtol=1e-4)


def test_layers_are_normed_and_projected_where_a_model_does_both() -> None:
    config = CONFIGS["opt"]()
    config.word_embed_proj_dim = 16
    model, side = build(config), padded(left=False)
    prepare(model, {NormedHidden(1)})
    signals = capture(model, side, {NormedHidden(1), NormedHidden(2), FinalHidden(), Head()})
    torch.testing.assert_close(signals[NormedHidden(2)], signals[FinalHidden()])
    assert signals[Head()](signals[NormedHidden(1)]).shape == (2, 9, 61)


@pytest.mark.parametrize("name", FAMILIES)
def test_left_and_right_padding_agree_on_real_tokens(name: str) -> None:
    left, right = padded(left=True), padded(left=False)
    here, there = tapped(name, left), tapped(name, right)
    for request in (Logits(), FinalHidden(), Hidden(0), Hidden(1), Hidden(2)):
        torch.testing.assert_close(
            here[request][left.attention_mask.bool()],
            there[request][right.attention_mask.bool()],
            atol=2e-5,
            rtol=1e-4,
        )
    value = [
        signals[Values(2)].transpose(1, 2)[side.attention_mask.bool()]
        for signals, side in ((here, left), (there, right))
    ]
    torch.testing.assert_close(*value, atol=2e-5, rtol=1e-4)


def test_final_hidden_alone_does_not_run_the_head() -> None:
    model = family("llama")
    model.lm_head.register_forward_hook(lambda *args: pytest.fail("the head ran"))
    signals = capture(model, padded(left=False), {FinalHidden(), Head()})
    assert set(signals) == {FinalHidden(), Head()}


def test_head_and_embedding_alone_run_nothing() -> None:
    model = family("llama")
    model.model.register_forward_hook(lambda *args: pytest.fail("the decoder ran"))
    signals = capture(model, padded(left=False), {Head(), Embedding()}, vocab_size=50)
    assert signals[Head()].weight.shape == signals[Embedding()].shape == (50, 32)


def test_vocabulary_is_trimmed_everywhere() -> None:
    model = family("gpt2")
    side = padded(left=True)
    full = capture(model, side, {Logits()})
    trimmed = capture(model, side, {Logits(), Head(), FinalHidden()}, vocab_size=40)
    assert torch.equal(trimmed[Logits()], full[Logits()][..., :40])
    torch.testing.assert_close(trimmed[Head()](trimmed[FinalHidden()]), trimmed[Logits()])
    with pytest.raises(BadInput, match=r"62 .* 61"):
        capture(model, side, {Logits()}, vocab_size=62)
    with pytest.raises(BadInput, match=r"62 .* 61"):
        capture(model, side, {Head()}, vocab_size=62)


def test_attention_without_prepare_is_refused() -> None:
    with pytest.raises(BadInput, match=r"QueryKey\(layer=1\).*prepare"):
        capture(family("llama"), padded(left=False), {QueryKey(1)}, owner="student")


def test_no_hook_stays_behind() -> None:
    model = family("llama")
    capture(model, padded(left=False), {Hidden(0), Hidden(2), FinalHidden()})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _loss(signals: Signals) -> torch.Tensor:
    seen = signals[QueryKey(2)]
    return sum(
        (part.float() ** 2).mean()
        for part in (
            *(seen.query, seen.key, signals[Values(1)], signals[Hidden(1)], signals[FinalHidden()]),
            signals[NormedHidden(1)],
        )
    )


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_checkpointing_gives_the_same_gradients(name: str) -> None:
    requests = {QueryKey(2), Values(1), Hidden(1), NormedHidden(1), FinalHidden()}
    gradients = []
    for checkpointed in (False, True):
        model = family(name)
        prepare(model, requests)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        if checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": False})
        _loss(capture(model, padded(left=True), requests)).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert any("k_proj" in key or "c_attn" in key for key in plain)
    for key, gradient in plain.items():
        torch.testing.assert_close(gradient, checkpointed[key], atol=1e-6, rtol=1e-5)


def test_reentrant_checkpointing_is_refused() -> None:
    model = family("llama")
    prepare(model, {QueryKey(1)})
    model.train()
    model.activation_checkpointing_enable({"use_reentrant": True})
    model.enable_input_require_grads()
    with pytest.raises(BadInput, match="use_reentrant"):
        capture(model, padded(left=False), {QueryKey(1)})


def test_autocast_to_bfloat16() -> None:
    requests = {FinalHidden(), Head(), Logits(), QueryKey(1)}
    model = family("gemma2")
    prepare(model, requests)
    with torch.autocast("cpu", torch.bfloat16):
        signals = capture(model, padded(left=True), requests)
        rebuilt = signals[Head()](signals[FinalHidden()])
    torch.testing.assert_close(rebuilt.float(), signals[Logits()].float(), atol=0.05, rtol=0.02)
    assert signals[QueryKey(1)].query.isfinite().all()


def test_saved_model_does_not_name_our_attention(tmp_path) -> None:
    model = family("llama")
    prepare(model, {QueryKey(1)})
    model.save_pretrained(tmp_path)
    assert NAME not in (tmp_path / "config.json").read_text()


def test_generation_works_with_our_attention() -> None:
    for name in ("llama", "gemma2", "mistral"):
        side = padded(left=True, length=9, short=6)
        texts = []
        for asks in (set(), {QueryKey(1)}):
            model = family(name)
            prepare(model, asks)
            texts.append(
                model.generate(
                    side.input_ids, attention_mask=side.attention_mask, max_new_tokens=6, do_sample=False
                )
            )
        assert torch.equal(*texts)
