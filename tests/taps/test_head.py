"""The head as weights and a transform, for every transform that a supported family has."""

import pytest
import torch
import transformers as tf
from taps.families import SIZES, build, family, padded

from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, Logits
from stillroom.taps.capture import capture
from stillroom.taps.head import embedding_weight, head_weights
from stillroom.taps.prepare import prepare

torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("name", "scale", "softcap"),
    [("llama", 1, None), ("cohere", 0.25, None), ("granite", 0.25, None), ("gemma2", 1, 3)],
)
def test_transform_of_the_family(name: str, scale: float, softcap: float | None) -> None:
    head = head_weights(family(name))
    assert (head.transform.scale, head.transform.softcap, head.transform.bias) == (scale, softcap, None)


def test_bias_is_trimmed_with_the_rows() -> None:
    model = build(tf.PhiConfig(**SIZES))
    head = head_weights(model, 40)
    assert head.transform.bias.shape == (40,)
    assert head.weight.data_ptr() == model.lm_head.weight.data_ptr()
    torch.nn.init.normal_(model.lm_head.bias)
    signals = capture(model, padded(left=False), {FinalHidden(), Head(), Logits()}, vocab_size=40)
    torch.testing.assert_close(signals[Head()](signals[FinalHidden()]), signals[Logits()])


def test_the_gradient_reaches_head_and_embedding() -> None:
    model = family("gpt2")
    signals = capture(model, padded(left=False), {FinalHidden(), Head()}, vocab_size=40)
    signals[Head()](signals[FinalHidden()]).square().mean().backward()
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.lm_head.weight.grad[:40].abs().sum() > 0


def test_a_family_with_a_transform_of_its_own_is_refused() -> None:
    config = tf.FalconH1Config(
        **SIZES, lm_head_multiplier=0.5, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_state=8
    )
    with pytest.raises(BadInput, match="'falcon_h1'"):
        prepare(build(config), {Head(), FinalHidden()})


def test_a_wrapped_head_is_refused() -> None:
    model = family("llama")
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(BadInput, match=r"head of 'llama' to be a plain linear layer, got Sequential"):
        head_weights(model)
    model.set_input_embeddings(torch.nn.Sequential(model.get_input_embeddings()))
    with pytest.raises(BadInput, match=r"embedding of 'llama' to be a plain embedding, got Sequential"):
        embedding_weight(model)
