"""Our attention function against plain loops: soft-cap in blocks of queries, with and without a mask."""

import pytest
import torch
from reference.attention_map import attention_map
from torch import nn

from stillroom.core.errors import BadInput
from stillroom.core.signals import QueryKey, Values
from stillroom.taps import attention as tap

torch.set_num_threads(1)


class Layer(nn.Module):
    """All that an attention module must be for a registered function."""

    layer_idx = 3
    num_key_value_groups = 2
    is_causal = True


def tensors(length: int = 11, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 4, length, 6), (2, 2, length, 6), (2, 2, length, 5)]
    return [torch.randn(size, generator=generator, dtype=dtype).requires_grad_() for size in sizes]


def bool_mask(attention_mask: torch.Tensor, window: int | None) -> torch.Tensor:
    at = torch.arange(attention_mask.shape[1])
    seen = at[None, :] <= at[:, None]
    if window is not None:
        seen = seen & (at[None, :] > at[:, None] - window)
    return seen[None, None] & attention_mask.bool()[:, None, None, :]


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("block", [4, 256])
def test_equals_plain_loops(monkeypatch, softcap: float | None, window: int | None, block: int) -> None:
    monkeypatch.setattr(tap, "QUERY_BLOCK", block)
    query, key, value = tensors()
    padding = torch.ones(2, 11, dtype=torch.long)
    padding[1, :4] = 0
    mask = bool_mask(padding, window)
    output, second = tap.attention(
        Layer(), query, key, value, mask, scaling=0.7, softcap=softcap, sliding_window=window
    )
    with torch.no_grad():
        weights = attention_map(query, key, padding, 0.7, softcap, window)
        expected = (weights @ value.repeat_interleave(2, dim=1)).transpose(1, 2)
    assert second is None
    real = padding.bool()
    tolerance = {"atol": 1e-6, "rtol": 1e-5} if softcap else {"atol": 1e-12, "rtol": 1e-9}
    torch.testing.assert_close(output[real], expected[real], **tolerance)


def test_blocks_change_no_gradient(monkeypatch) -> None:
    gradients = []
    for block in (4, 256):
        monkeypatch.setattr(tap, "QUERY_BLOCK", block)
        inputs = tensors()
        output, _ = tap.attention(Layer(), *inputs, None, softcap=1.5)
        gradients.append(torch.autograd.grad(output.square().sum(), inputs))
    for whole, blocked in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, blocked, atol=1e-10, rtol=1e-8)


def test_no_mask_means_causal_and_one_query_sees_all() -> None:
    query, key, value = tensors()
    causal = bool_mask(torch.ones(2, 11), None)
    for softcap in (None, 1.5):
        whole, _ = tap.attention(Layer(), query, key, value, causal, softcap=softcap)
        unmasked, _ = tap.attention(Layer(), query, key, value, None, softcap=softcap)
        last, _ = tap.attention(Layer(), query[:, :, -1:], key, value, None, softcap=softcap)
        torch.testing.assert_close(whole, unmasked)
        torch.testing.assert_close(whole[:, -1:], last)


def test_dropout_of_capped_attention() -> None:
    query, key, value = tensors()
    output, _ = tap.attention(Layer(), query, key, value, None, softcap=1.5, dropout=1.0)
    assert not output.any()


def test_the_recorder_sees_what_was_asked_and_overwrites() -> None:
    query, key, value = tensors()
    recorder = tap.Recorder({QueryKey(4)})
    with tap.recording(recorder):
        tap.attention(Layer(), query, key, value, None)
        tap.attention(Layer(), query * 2, key, value, None, scaling=0.5, softcap=9.0, sliding_window=0)
    tap.attention(Layer(), query * 3, key, value, None)
    assert set(recorder.answers) == {QueryKey(4)}
    assert recorder.calls == {4: 2}
    seen = recorder.answers[QueryKey(4)]
    assert torch.equal(seen.query, query * 2)
    assert (seen.scaling, seen.softcap, seen.window) == (0.5, 9.0, None)


def test_default_scaling_is_recorded() -> None:
    query, key, value = tensors()
    recorder = tap.Recorder({QueryKey(4), Values(4)})
    with tap.recording(recorder):
        tap.attention(Layer(), query, key, value, None)
    assert recorder.answers[QueryKey(4)].scaling == 6**-0.5
    assert recorder.answers[Values(4)] is value


@pytest.mark.parametrize("name", ["s_aux", "position_bias"])
def test_unknown_parts_of_the_scores_are_refused(name: str) -> None:
    query, key, value = tensors()
    with pytest.raises(BadInput, match="Layer uses"):
        tap.attention(Layer(), query, key, value, None, **{name: torch.zeros(4)})
