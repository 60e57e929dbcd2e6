"""The slices of the output projection: with maps and values they make what attention adds to the hidden states."""

import pytest
import torch
import transformers as tf
from reference.attention_map import attention_map
from taps.families import CONFIGS, SIZES, VOCAB, build, family, padded
from torch import nn

from stillroom.core.errors import BadInput
from stillroom.core.signals import OutputProjection, QueryKey, Values
from stillroom.taps.anatomy import attention_output
from stillroom.taps.capture import capture
from stillroom.taps.output_projection import output_projection
from stillroom.taps.prepare import prepare

torch.set_num_threads(1)
SMALL = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
OTHERS = {
    "phi": lambda: tf.PhiConfig(**SIZES),
    "bloom": lambda: tf.BloomConfig(**SMALL, hidden_size=32, n_layer=2, n_head=4),
    "falcon": lambda: tf.FalconConfig(
        **SMALL, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, alibi=False
    ),
    "gptj": lambda: tf.GPTJConfig(**SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4),
    "gpt_neo": lambda: tf.GPTNeoConfig(
        **SMALL, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    ),
}


def bias_of(module: nn.Module) -> torch.Tensor:
    return torch.zeros(()) if module.bias is None else module.bias


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_heads_write_what_attention_adds(name: str) -> None:
    model, side = family(name), padded(left=False)
    requests = {QueryKey(2), Values(2), OutputProjection(2)}
    prepare(model, requests)
    module, written = attention_output(model, 2), []
    with torch.no_grad():
        if module.bias is not None:
            module.bias.normal_()
        module.register_forward_hook(lambda module, args, output: written.append(output))
        signals = capture(model, side, requests)
    seen, value, slices = signals[QueryKey(2)], signals[Values(2)], signals[OutputProjection(2)]
    assert slices.shape == (4, value.shape[3], 32)
    maps = attention_map(seen.query, seen.key, side.attention_mask, seen.scaling, seen.softcap, seen.window)
    value = value.double().repeat_interleave(4 // value.shape[1], dim=1)
    expected = sum(maps[:, h] @ value[:, h] @ slices[h].double() for h in range(4)) + bias_of(module)
    real = side.attention_mask.bool()
    torch.testing.assert_close(written[0][real].double(), expected[real], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_families_have_it_under_other_names(name: str) -> None:
    module = attention_output(model := build(OTHERS[name]()), 1)
    said = torch.randn(3, 32)
    slices = output_projection(model, 1)
    heads = torch.einsum("nhe,hed->nd", said.unflatten(1, (4, 8)), slices)
    torch.testing.assert_close(heads + bias_of(module), module(said))
    assert output_projection(model, 2).data_ptr() != slices.data_ptr()


def test_it_runs_nothing_and_carries_gradient() -> None:
    model = family("gpt2")
    model.transformer.register_forward_hook(lambda *args: pytest.fail("the decoder ran"))
    signals = capture(model, padded(left=False), {OutputProjection(1)})
    signals[OutputProjection(1)][2].sum().backward()
    gradient = model.transformer.h[0].attn.c_proj.weight.grad
    assert (gradient.unflatten(0, (4, 8)).abs().sum(dim=(1, 2)) > 0).tolist() == [False, False, True, False]


def test_without_a_dense_weight_it_is_refused() -> None:
    model = family("llama")
    projection = model.model.layers[1].self_attn.o_proj
    projection.weight = nn.Parameter(projection.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(
        BadInput, match=r"block 2 of 'llama' to be a plain linear layer .*Linear: do not quantize"
    ):
        prepare(model, {OutputProjection(2)})
    model.model.layers[1].self_attn.o_proj = nn.Sequential(projection)
    with pytest.raises(BadInput, match=r"torch\.nn\.modules\.container\.Sequential"):
        output_projection(model, 2)
    prepare(model, {OutputProjection(1)})


def test_adapters_on_the_projection_are_refused() -> None:
    peft = pytest.importorskip("peft")
    settings = {"task_type": "CAUSAL_LM", "r": 2}
    adapted = peft.get_peft_model(family("llama"), peft.LoraConfig(**settings, target_modules=["o_proj"]))
    with pytest.raises(BadInput, match=r"peft\.tuners\.lora.*merge its adapters"):
        prepare(adapted, {OutputProjection(1)})
    adapted = peft.get_peft_model(family("llama"), peft.LoraConfig(**settings, target_modules=["q_proj"]))
    prepare(adapted, {OutputProjection(1)})


def test_a_family_without_attention_of_a_known_kind_is_refused() -> None:
    model = family("llama")
    model.model.layers[0].self_attn = nn.Identity()
    with pytest.raises(BadInput, match=r"block 1 of 'llama' to have one attention .* found 0"):
        prepare(model, {OutputProjection(1)})


@pytest.mark.parametrize("layer", [0, 3])
def test_layers_out_of_range_name_both_numbers(layer: int) -> None:
    with pytest.raises(BadInput, match=rf"from 1 to 2 in OutputProjection.* got {layer}:"):
        prepare(family("llama"), {OutputProjection(layer)})


def test_a_gate_between_heads_and_projection_is_refused() -> None:
    model = family("llama")
    projection = model.model.layers[0].self_attn.o_proj
    projection.register_forward_pre_hook(lambda module, args: (args[0] * 1.5,))
    before = model.config._attn_implementation
    with pytest.raises(BadInput, match=r"'llama' projects something else in layer 1 .*inputs differ"):
        prepare(model, {Values(1), OutputProjection(1)})
    assert model.config._attn_implementation == before
