"""Shapes and types that the doors of attention ask for, each refused in one sentence."""

from torch import Tensor

from stillroom.core.errors import BadInput


def check_query_key(query: Tensor, key: Tensor) -> None:
    """`query [B,H,S,d]`, `key [B,G,S,d]`, H a multiple of G, one floating-point type."""
    if (
        query.dim() != 4
        or key.dim() != 4
        or query.shape[0] != key.shape[0]
        or query.shape[2:] != key.shape[2:]
    ):
        raise BadInput(
            "expected query [B,H,S,d] and key [B,G,S,d] with the same B, S and d, got "
            f"{list(query.shape)} and {list(key.shape)}; transpose heads before positions."
        )
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise BadInput(
            f"expected the number of query heads to be a multiple of the number of key heads, got "
            f"{query.shape[1]} and {key.shape[1]}."
        )
    if query.dtype != key.dtype or not query.dtype.is_floating_point:
        raise BadInput(
            f"expected query and key of one floating-point type, got {query.dtype} and {key.dtype}; convert one."
        )


def check_value(key: Tensor, value: Tensor) -> None:
    """`value [B,G,S,e]` beside `key [B,G,S,d]`; under autocast the two may be of different types."""
    if value.dim() != 4 or value.shape[:3] != key.shape[:3] or not value.dtype.is_floating_point:
        raise BadInput(
            f"expected value [B,G,S,e] of floating-point numbers with the B, G and S of key, {list(key.shape[:3])}, "
            f"got {list(value.shape)} of {value.dtype}."
        )


def check_positions(query: Tensor, weights: Tensor, key_mask: Tensor | None) -> None:
    """`weights [B,S]` and `key_mask [B,S]`."""
    for name, given in (("weights", weights), ("key_mask", key_mask)):
        if given is not None and given.shape != (query.shape[0], query.shape[2]):
            raise BadInput(
                f"expected {name} [B,S] = {[query.shape[0], query.shape[2]]}, got {list(given.shape)}; "
                "heads share them."
            )
