"""A student wrapped by PEFT answers like any other, with its adapters active."""

import pytest
import torch
from taps.families import CONFIGS, family, padded

from stillroom.core.errors import BadInput
from stillroom.core.signals import Embedding, FinalHidden, Head, Hidden, Logits, QueryKey, Values
from stillroom.taps.anatomy import blocks, causal_lm, decoder
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare

torch.set_num_threads(1)
peft = pytest.importorskip("peft")
# peft asks for a property by its old name
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
REQUESTS = {FinalHidden(), Head(), Logits(), Hidden(1), QueryKey(1), Values(2)}


def lora(**settings) -> torch.nn.Module:
    settings = {"target_modules": ["q_proj", "v_proj"], **settings}
    torch.manual_seed(0)
    return peft.get_peft_model(family("llama"), peft.LoraConfig(r=2, init_lora_weights=False, **settings))


def test_adapters_stay_active_and_learn() -> None:
    student = lora()
    prepare(student, REQUESTS)
    side = padded(left=True)
    signals = capture(student, side, REQUESTS)
    wrapped = student(input_ids=side.input_ids, attention_mask=side.attention_mask)
    plain = family("llama")(input_ids=side.input_ids, attention_mask=side.attention_mask)
    real = side.attention_mask.bool()
    torch.testing.assert_close(signals[Logits()][real], wrapped.logits[real], atol=1e-5, rtol=1e-4)
    assert (signals[Logits()] - plain.logits)[real].abs().max() > 1e-2
    loss = signals[QueryKey(1)].query.square().mean() + signals[Values(2)].square().mean()
    loss.backward()
    reached = {name for name, parameter in student.named_parameters() if parameter.grad is not None}
    assert all("lora" in name for name in reached)
    assert {name.split(".")[-4] for name in reached} == {"q_proj", "v_proj"}


def test_checkpointed_adapters_learn_the_same() -> None:
    gradients = []
    for checkpointed in (False, True):
        student = lora().train()
        prepare(student, REQUESTS)
        if checkpointed:
            student.base_model.model.activation_checkpointing_enable({"use_reentrant": False})
        signals = capture(student, padded(left=False), REQUESTS)
        (signals[QueryKey(1)].key.square().sum() + signals[FinalHidden()].square().sum()).backward()
        gradients.append([p.grad for p in student.parameters() if p.requires_grad])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "settings", [{"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}]
)
def test_an_adapted_head_is_refused(settings: dict) -> None:
    student = lora(**settings)
    with pytest.raises(BadInput, match=r"head of 'llama' to be a plain linear layer.*target_modules"):
        prepare(student, {Head(), FinalHidden()})
    capture(student, padded(left=False), {Logits()})


def test_an_adapted_embedding_is_refused() -> None:
    student = lora(target_modules=["embed_tokens"])
    with pytest.raises(BadInput, match="embedding of 'llama'"):
        capture(student, padded(left=False), {Embedding()})


def test_virtual_tokens_are_refused() -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    student = peft.get_peft_model(family("llama"), config)
    with pytest.raises(BadInput, match="virtual tokens"):
        causal_lm(student)


def test_a_bare_module_is_refused() -> None:
    with pytest.raises(BadInput, match="got Linear"):
        causal_lm(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_blocks_are_found(name: str) -> None:
    model = family(name)
    assert len(blocks(model)) == 2
    model.config.num_hidden_layers = 5
    with pytest.raises(BadInput, match=r"one list of 5 blocks, found lists of \[2\]"):
        blocks(model)
    assert decoder(model) is not model
