"""What makes logits of hidden states: the dense definition, and the same a few rows at a time.

    logits = transform(hidden @ head.T) / temperature

The product is taken in the type of the inputs (in that of autocast where it is on); everything after it in
float32, or in float64 for float64 inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadMixture, HeadTransform

Transform = Callable[[Tensor], Tensor]
"""Scores `[n,V]` to logits `[n,V]`; must not write into its argument."""


class Scratch:
    """Matrices `[rows,V]` that live for one call and serve all of its chunks.

    Memory that was never touched costs as much time as the arithmetic that fills it.
    """

    def __init__(self, columns: int, device: torch.device) -> None:
        self._columns = columns
        self._device = device
        self._held: dict[tuple[str, torch.dtype], Tensor] = {}

    def matrix(self, name: str, rows: int, dtype: torch.dtype) -> Tensor:
        """The matrix of that name, `[rows,V]`, with whatever it held; the first call asks for most rows."""
        if (name, dtype) not in self._held:
            self._held[name, dtype] = torch.empty(rows, self._columns, dtype=dtype, device=self._device)
        return self._held[name, dtype][:rows]


@dataclass(frozen=True)
class Projection:
    """One model's half of a head loss: `hidden [N,D]`, `head [V,D]`, and what turns scores to logits."""

    hidden: Tensor
    head: Tensor
    transform: Transform
    temperature: float = 1.0

    @property
    def bias(self) -> Tensor | None:
        return self.transform.bias if isinstance(self.transform, HeadTransform) else None

    @property
    def is_plain_product(self) -> bool:
        return isinstance(self.transform, HeadTransform) and self.transform.is_identity

    @property
    def sum_dtype(self) -> torch.dtype:
        """The type of logarithms, exponentials and sums."""
        return torch.promote_types(self.hidden.dtype, torch.float32)

    def logits(self) -> Tensor:
        """All logits `[N,V]`, by ordinary differentiable PyTorch."""
        if isinstance(self.transform, HeadMixture):
            return self.transform.mixed(self.hidden, self.head) / self.temperature
        scores = (self.hidden @ self.head.T).to(self.sum_dtype)
        return self.transform(scores) / self.temperature

    def for_chunks(self) -> "Projection":
        """Detached, and in the type that autocast asks for; `scores` runs outside autocast."""
        device = self.head.device.type
        wanted = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.hidden.dtype
        if self.sum_dtype == torch.float64:  # autocast leaves float64 alone
            wanted = torch.float64
        return replace(self, hidden=self.hidden.detach().to(wanted), head=self.head.detach().to(wanted))

    def chunk_logits(self, rows: slice, scratch: Scratch) -> Tensor:
        """Logits of a few rows, `[n,V]` in `sum_dtype`, before the temperature; without gradient."""
        if isinstance(self.transform, HeadMixture):
            return self.transform.mixed(self.hidden[rows], self.head).to(self.sum_dtype)
        scores = self.scores(rows, scratch)
        return scores if self.is_plain_product else self.transform(scores)

    def scores(self, rows: slice, scratch: Scratch) -> Tensor:
        """`hidden[rows] @ head.T`, `[n,V]` in `sum_dtype`, before the transform; the scratch's "scores"."""
        hidden = self.hidden[rows]
        product = scratch.matrix("scores", len(hidden), hidden.dtype)
        torch.mm(hidden, self.head.T, out=product)
        if hidden.dtype == self.sum_dtype:
            return product
        return scratch.matrix("scores", len(hidden), self.sum_dtype).copy_(product)


def projection(
    owner: str,
    hidden: Tensor,
    head: Tensor,
    transform: Transform | None,
    weights: Tensor | None,
    temperature: float,
) -> Projection:
    """A checked `Projection`; `owner` ("student", "teacher") names it in errors.

    Rows without weight are replaced by zeros, so that what lies in them (padding, NaN) reaches nothing.
    """
    if hidden.dim() != 2 or head.dim() != 2 or hidden.shape[1] != head.shape[1]:
        raise BadInput(
            f"expected {owner} hidden states [N,D] and head [V,D] of one width, got {list(hidden.shape)} and "
            f"{list(head.shape)}; flatten positions first (hidden.flatten(0, 1))."
        )
    if not torch.is_autocast_enabled(head.device.type) and hidden.dtype != head.dtype:
        raise BadInput(
            f"expected {owner} hidden states and head of one type, got {hidden.dtype} and {head.dtype}; "
            "convert one of them, or run under torch.autocast."
        )
    if not temperature > 0 or temperature == float("inf"):
        raise BadInput(f"expected a positive temperature, got {temperature}.")
    if weights is not None:
        if weights.shape != hidden.shape[:1]:
            raise BadInput(
                f"expected one weight for each of the {len(hidden)} rows, got weights {list(weights.shape)}."
            )
        hidden = torch.where((weights != 0).unsqueeze(1), hidden, 0.0)
    return Projection(hidden, head, transform or HeadTransform(), temperature)
