"""Received attention of real models: against the maps of eager attention, with gradient, also under checkpointing."""

import copy

import pytest
import torch
from taps.families import CONFIGS, family, padded

from stillroom.core.batch import Side
from stillroom.core.signals import QueryKey, ReceivedAttention
from stillroom.taps.capture import capture, model_inputs
from stillroom.taps.prepare import prepare
from stillroom.taps.received import row_weights

torch.set_num_threads(1)
REQUESTS = (ReceivedAttention(1), ReceivedAttention(2), ReceivedAttention(2, "response"))


def expected(maps: torch.Tensor, weights: torch.Tensor, side: Side) -> torch.Tensor:
    """`[B,H,S,S]` to `[B,H,S]`; rows of padding are left out, not multiplied by zero."""
    maps = torch.where(side.attention_mask.bool()[:, None, :, None], maps, 0.0)
    return torch.einsum("bi,bhij->bhj", weights, maps)


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_it_is_the_pooled_map_of_the_eager_model(name: str, left: bool) -> None:
    side = padded(left=left)
    model = family(name)
    prepare(model, REQUESTS)
    eager = family(name, "eager")
    with torch.no_grad():
        got = capture(model, side, REQUESTS)
        maps = eager(**model_inputs(eager, side), output_attentions=True).attentions
    for request in REQUESTS:
        want = expected(maps[request.layer - 1], row_weights(request, side), side)
        torch.testing.assert_close(got[request], want, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(got[request].sum(-1), torch.ones_like(want[..., 0]))


def test_rows_weigh_alike_and_sum_to_one_or_are_absent() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]])
    response = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    side = Side(mask, mask, response)
    third = 1 / 3
    expected_rows = torch.tensor([[0.25] * 4, [0, third, third, third], [0.25] * 4])
    torch.testing.assert_close(row_weights(ReceivedAttention(1), side), expected_rows)
    assert row_weights(ReceivedAttention(1, "response"), side).tolist() == [
        [0, 0.5, 0.5, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]


def test_without_gradient_queries_and_keys_are_not_kept() -> None:
    model = family("llama")
    prepare(model, REQUESTS)
    with torch.no_grad():
        signals = capture(model, padded(left=False), REQUESTS)
    assert set(signals) == set(REQUESTS)
    assert QueryKey(1) not in signals


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_gradients_are_those_of_the_eager_model_also_under_checkpointing(name: str) -> None:
    side = padded(left=False)
    target = torch.randn(side.input_ids.shape[0], 4, side.input_ids.shape[1])

    def gradients(model: torch.nn.Module, pooled: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        loss = sum((each * target).sum() for each in pooled)
        loss.backward()
        return {key: each.grad for key, each in model.named_parameters() if each.grad is not None}

    eager = family(name, "eager")
    maps = eager(**model_inputs(eager, side), output_attentions=True).attentions
    pooled = [expected(maps[each.layer - 1], row_weights(each, side), side) for each in REQUESTS]
    want = gradients(eager, pooled)
    for checkpointed in (False, True):
        model = copy.deepcopy(family(name))
        prepare(model, REQUESTS)
        if checkpointed:
            model.train()
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
            for module in model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
        signals = capture(model, side, REQUESTS)
        got = gradients(model, [signals[each] for each in REQUESTS])
        for key, each in got.items():
            if want.get(key) is None:
                assert not each.any(), key
            else:
                torch.testing.assert_close(
                    each, want[key], atol=2e-5, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}"
                )
