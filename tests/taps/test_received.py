"""Received attention of real models: against the maps of eager attention, with gradient, also under checkpointing."""

import copy

import pytest
import torch
from taps.families import CONFIGS, family, padded

from stillroom.core.batch import Side
from stillroom.core.signals import FinalHidden, QueryKey, ReceivedAttention, Values
from stillroom.taps import attention as tap
from stillroom.taps.capture import capture, model_inputs
from stillroom.taps.prepare import prepare
from stillroom.taps.received import is_plain

torch.set_num_threads(1)
REQUESTS = (
    ReceivedAttention(1),
    ReceivedAttention(2),
    ReceivedAttention(2, "response"),
    ReceivedAttention(1, "last"),
    ReceivedAttention(2, "last"),
)
LAST = REQUESTS[3:]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way every request was answered."""
    seen: list[str] = []
    for name in ("reduced", "reduced_with_output"):
        original = getattr(tap, name)
        monkeypatch.setattr(tap, name, lambda *args, n=name, f=original: (seen.append(n), f(*args))[1])
    return seen


ONE_PASS, TWO_PASSES = ["reduced_with_output"], ["reduced"]


def expected(maps: torch.Tensor, weights: torch.Tensor, side: Side) -> torch.Tensor:
    """`[B,H,S,S]` to `[B,H,S]`; rows of padding are left out, not multiplied by zero."""
    maps = torch.where(side.attention_mask.bool()[:, None, :, None], maps, 0.0)
    return torch.einsum("bi,bhij->bhj", weights, maps)


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_it_is_the_pooled_map_of_the_eager_model(name: str, left: bool, passes: list[str]) -> None:
    side = padded(left=left)
    real = side.attention_mask.bool()
    model = family(name)
    prepare(model, REQUESTS)
    passes.clear()
    eager = family(name, "eager")
    with torch.no_grad():
        got = capture(model, side, (*REQUESTS, FinalHidden()))
        answer = eager(**model_inputs(eager, side), output_attentions=True, output_hidden_states=True)
    assert sorted(passes) == sorted(ONE_PASS * 2 + TWO_PASSES * 3)
    torch.testing.assert_close(got[FinalHidden()][real], answer.hidden_states[-1][real], atol=2e-5, rtol=1e-4)
    for request in REQUESTS:
        want = expected(answer.attentions[request.layer - 1], side.row_weights(request.rows), side)
        torch.testing.assert_close(got[request], want, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(got[request].sum(-1), torch.ones_like(want[..., 0]))


def test_rows_weigh_alike_and_sum_to_one_or_are_absent() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]])
    response = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]).bool()
    side = Side(mask, mask, response)
    third = 1 / 3
    expected_rows = torch.tensor([[0.25] * 4, [0, third, third, third], [0.25] * 4])
    torch.testing.assert_close(side.row_weights("real"), expected_rows)
    assert side.row_weights("response").tolist() == [
        [0, 0.5, 0.5, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 0],
    ]
    side = Side(mask := torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]]), mask, mask.bool())
    assert side.row_weights("last").tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "mistral"])
def test_the_last_row_does_not_know_its_batch_or_padding(name: str, passes: list[str]) -> None:
    model, sides = family(name), [padded(left=left) for left in (False, True)]
    prepare(model, LAST)
    passes.clear()
    with torch.no_grad():
        right, left = (capture(model, side, LAST) for side in sides)
        ids = sides[0].input_ids[1:, :5]
        alone = capture(model, Side(ids, torch.ones_like(ids), torch.ones_like(ids).bool()), LAST)
    assert passes == TWO_PASSES * 6
    for request in LAST:
        torch.testing.assert_close(right[request][0], left[request][0])
        torch.testing.assert_close(right[request][1, :, :5], alone[request][0], atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(left[request][1, :, -5:], alone[request][0], atol=1e-6, rtol=1e-4)
        assert not right[request][1, :, 5:].any()
        assert not left[request][1, :, :-5].any()


def test_a_text_without_tokens_has_no_last_row() -> None:
    model = family("llama")
    prepare(model, LAST)
    side = padded(left=False)
    side.attention_mask[1] = 0
    with torch.no_grad():
        received = capture(model, side, LAST)[LAST[1]]
    assert not received[1].any()
    torch.testing.assert_close(received[0].sum(-1), torch.ones(4))


def test_without_gradient_queries_and_keys_are_not_kept() -> None:
    model = family("llama")
    prepare(model, REQUESTS)
    with torch.no_grad():
        signals = capture(model, padded(left=False), REQUESTS)
    assert set(signals) == set(REQUESTS)
    assert QueryKey(1) not in signals


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_gradients_are_those_of_the_eager_model_also_under_checkpointing(
    name: str, passes: list[str]
) -> None:
    side = padded(left=False)
    target = torch.randn(side.input_ids.shape[0], 4, side.input_ids.shape[1])
    hidden_target = torch.randn(*side.input_ids.shape, 32) * side.attention_mask[:, :, None]

    def gradients(model: torch.nn.Module, pooled: list[torch.Tensor], hidden: torch.Tensor) -> dict:
        loss = sum((each * target).sum() for each in pooled) + (hidden * hidden_target).sum()
        loss.backward()
        return {key: each.grad for key, each in model.named_parameters() if each.grad is not None}

    eager = family(name, "eager")
    answer = eager(**model_inputs(eager, side), output_attentions=True, output_hidden_states=True)
    pooled = [
        expected(answer.attentions[each.layer - 1], side.row_weights(each.rows), side) for each in REQUESTS
    ]
    want = gradients(eager, pooled, answer.hidden_states[-1])
    for checkpointed in (False, True):
        model = copy.deepcopy(family(name))
        prepare(model, REQUESTS)
        if checkpointed:
            train_with_checkpointing(model)
        passes.clear()
        signals = capture(model, side, (*REQUESTS, FinalHidden()))
        got = gradients(model, [signals[each] for each in REQUESTS], signals[FinalHidden()])
        assert sorted(passes) == sorted(TWO_PASSES * 5 if checkpointed else ONE_PASS * 2 + TWO_PASSES * 3)
        assert any(each.any() for each in want.values())
        for key, parameter in model.named_parameters():
            here, there = (each.get(key, torch.zeros_like(parameter)) for each in (got, want))
            torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-3, msg=lambda m, k=key: f"{k}: {m}")


def train_with_checkpointing(model: torch.nn.Module) -> None:
    """Without dropout, which would make every pass another one."""
    model.train()
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


@pytest.mark.parametrize("rows", ["real", "response"])
def test_one_pass_answers_the_other_requests_of_its_layer_too(rows: str, passes: list[str]) -> None:
    side = padded(left=True)
    model = family("qwen3")
    asked = (ReceivedAttention(2, rows), QueryKey(2), Values(2))
    prepare(model, asked)
    passes.clear()
    signals = capture(model, side, asked)
    assert passes == ONE_PASS
    assert signals[asked[0]].requires_grad
    assert signals[QueryKey(2)].query.shape[1] == 2 * signals[Values(2)].shape[1] == 4


def test_text_without_padding_has_no_mask_and_one_pass(passes: list[str]) -> None:
    ids = torch.randint(3, 61, (2, 9))
    side = Side(ids, torch.ones_like(ids), torch.ones_like(ids).bool())
    model = family("mistral")  # whose window is shorter than the text
    prepare(model, REQUESTS)
    passes.clear()
    with torch.no_grad():
        capture(model, side, REQUESTS[:2])
        assert passes == ONE_PASS * 2
        capture(family("llama", tap.NAME), side, REQUESTS[:2])
    assert passes == ONE_PASS * 4


def test_dropout_of_the_map_keeps_two_passes(passes: list[str]) -> None:
    side = padded(left=False)
    model = family("llama")
    prepare(model, REQUESTS)
    for block in model.model.layers:
        block.self_attn.attention_dropout = 0.5
    with torch.no_grad():
        exact = capture(model, side, REQUESTS[:1])
        model.train()
        passes.clear()
        got = capture(model, side, REQUESTS[:1])
    assert passes == TWO_PASSES
    torch.testing.assert_close(got[REQUESTS[0]], exact[REQUESTS[0]])


def test_bfloat16_under_autocast(passes: list[str]) -> None:
    """The rotary embedding leaves queries and keys in float32 beside values in bfloat16."""
    side = padded(left=False)
    real = side.attention_mask.bool()
    model = family("llama")
    prepare(model, REQUESTS)
    exact = capture(model, side, (REQUESTS[0], FinalHidden()))
    passes.clear()
    with torch.autocast("cpu", torch.bfloat16):
        got = capture(model, side, (REQUESTS[0], FinalHidden()))
    assert passes == ONE_PASS
    torch.testing.assert_close(got[REQUESTS[0]], exact[REQUESTS[0]], atol=0.02, rtol=0.05)
    torch.testing.assert_close(
        got[FinalHidden()][real].float(), exact[FinalHidden()][real], atol=0.1, rtol=0.05
    )


@pytest.mark.parametrize("window", [None, 4])
def test_what_padding_and_window_make_of_a_mask(window: int | None) -> None:
    side = padded(left=True)
    exists, at = side.attention_mask.bool(), torch.arange(9)
    sees = at <= at[:, None]
    if window is not None:
        sees &= at > at[:, None] - window
    mask = (sees & exists[:, None, :])[:, None]
    assert is_plain(mask, side, window)
    assert is_plain(mask | ~exists[:, None, :, None], side, window)  # rows of padding may see anything
    assert not is_plain(mask, side, 2)
    assert not is_plain(mask.float(), side, window)
    assert not is_plain(mask.expand(2, 4, 9, 9), side, window)
    for b, i, j in ((0, 5, 5), (0, 3, 4), (1, 8, 0)):
        other = mask.clone()
        other[b, 0, i, j] = ~other[b, 0, i, j]
        assert not is_plain(other, side, window)


def test_no_mask_is_causal_text_without_padding() -> None:
    ids = torch.zeros(2, 9, dtype=torch.long)
    full = Side(ids, torch.ones_like(ids), torch.ones_like(ids).bool())
    assert is_plain(None, full, None)
    assert is_plain(None, full, 9)
    assert not is_plain(None, full, 8)
    assert not is_plain(None, padded(left=False), None)


@pytest.mark.parametrize("given", [{"is_causal": False}, {}])
def test_another_mask_or_none_without_causality_keeps_two_passes(given: dict, passes: list[str]) -> None:
    layer = torch.nn.Module()
    layer.layer_idx, layer.num_key_value_groups, layer.is_causal = 0, 1, True
    ids = torch.zeros(1, 5, dtype=torch.long)
    side = Side(ids, torch.ones_like(ids), torch.ones_like(ids).bool())
    x = [torch.randn(1, 2, 5, 3) for _ in range(3)]
    mask = None if given else torch.ones(1, 1, 5, 5, dtype=torch.bool)
    with torch.no_grad(), tap.recording(tap.Recorder(REQUESTS[:1], side)):
        output, _ = tap.attention(layer, *x, mask, **given)
    assert passes == TWO_PASSES
    full = torch.nn.functional.scaled_dot_product_attention(*x).transpose(1, 2)
    torch.testing.assert_close(output, full)
