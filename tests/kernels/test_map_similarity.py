"""Likeness of maps against the maps themselves, in plain loops."""

import pytest
import torch
from reference.attention_map import attention_map

from stillroom.core.errors import BadInput
from stillroom.kernels import map_similarity as kernel
from stillroom.kernels.map_similarity import map_similarity

torch.set_num_threads(1)


def tensors(length: int = 9, groups: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (2, 4, length, 5), (2, groups, length, 5)
    query, key = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    return query, key


def padding(length: int = 9) -> torch.Tensor:
    mask = torch.ones(2, length, dtype=torch.long)
    mask[0, :3] = 0
    mask[1, 6:] = 0
    return mask


def reference(maps: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`maps [B,H,S,S]`, `weights [B,S]`: cosines, one number at a time."""
    batch, heads, length, _ = maps.shape
    inner = torch.zeros(batch, heads, heads, dtype=torch.float64)
    for b in range(batch):
        for i in range(heads):
            for j in range(heads):
                for row in range(length):
                    inner[b, i, j] += weights[b, row] * (maps[b, i, row] @ maps[b, j, row])
    norms = inner.diagonal(dim1=1, dim2=2).sqrt()
    return inner / norms[:, :, None] / norms[:, None, :]


@pytest.mark.parametrize("tile", [1, 2**7, 2**19])
@pytest.mark.parametrize(("softcap", "window"), [(None, None), (1.5, None), (None, 3), (0.8, 2)])
def test_equals_the_maps(monkeypatch, tile: int, softcap: float | None, window: int | None) -> None:
    monkeypatch.setattr(kernel, "TILE", tile)
    query, key = tensors()
    mask = padding()
    weights = torch.rand(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * mask
    got = map_similarity(
        query, key, scaling=0.7, weights=weights, key_mask=mask, softcap=softcap, window=window
    )
    expected = reference(attention_map(query, key, mask, 0.7, softcap, window), weights)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(got.diagonal(dim1=1, dim2=2), torch.ones(2, 4, dtype=torch.float64))


def test_without_a_causal_mask_every_key_is_seen() -> None:
    query, key = tensors(groups=4)
    weights = torch.ones(2, 9)
    maps = (query @ key.mT * 0.7).softmax(dim=-1)
    got = map_similarity(query, key, scaling=0.7, weights=weights, is_causal=False)
    torch.testing.assert_close(got, reference(maps, weights.double()))


def test_padding_may_hold_anything_and_samples_do_not_meet() -> None:
    query, key = tensors()
    mask = padding()
    clean = map_similarity(query, key, scaling=0.7, weights=mask.double(), key_mask=mask)
    for tensor in (query, key):
        tensor.masked_fill_((mask == 0)[:, None, :, None], torch.nan)
    dirty = map_similarity(query, key, scaling=0.7, weights=mask.double(), key_mask=mask)
    assert torch.equal(clean, dirty)
    alone = map_similarity(query[1:], key[1:], scaling=0.7, weights=mask[1:].double(), key_mask=mask[1:])
    assert torch.equal(alone, clean[1:])


def test_equal_heads_are_alike_and_a_sample_without_rows_is_zero() -> None:
    query, key = tensors(groups=1)
    query[:, 2] = query[:, 0]
    weights = torch.ones(2, 9)
    weights[1] = 0
    got = map_similarity(query, key, scaling=0.7, weights=weights)
    assert got[0, 0, 2] == pytest.approx(1, abs=1e-12)
    assert (got[0, 0, [1, 3]] < 0.999).all()
    assert (got[1] == 0).all()


def test_bfloat16_is_computed_in_float32() -> None:
    query, key = (each.bfloat16() for each in tensors())
    weights = torch.ones(2, 9)
    got = map_similarity(query, key, scaling=0.7, weights=weights)
    exact = map_similarity(query.double(), key.double(), scaling=0.7, weights=weights)
    torch.testing.assert_close(got, exact, atol=1e-6, rtol=1e-6)


def test_shapes_that_do_not_fit_are_refused() -> None:
    query, key = tensors()
    with pytest.raises(BadInput, match=r"weights \[B,S\] = \[2, 9\], got \[2, 4\]"):
        map_similarity(query, key, scaling=0.7, weights=torch.ones(2, 4))
