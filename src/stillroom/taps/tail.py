"""How much probability a model gives to head rows beyond the shared vocabulary.

Trimming renormalizes over the shared rows; the mass removed is sum_{v >= shared} softmax(logits)_v. For
padding rows it should be close to zero, and a reader of the report should see that it is.
"""

import torch
from torch import Tensor

from stillroom.core.signals import HeadWeights


@torch.no_grad()
def tail_mass(hidden: Tensor, head: HeadWeights, shared: int, *, rows: int = 1024) -> Tensor:
    """Probability, 0 to 1, of the head rows from `shared` on, at each of `hidden [...,D]`: float32 `[...]`.

    `head` is the whole head, untrimmed. Logits exist for `rows` positions at a time only.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    masses = [_mass(head(part).float(), shared) for part in flat.split(rows)]
    return torch.cat(masses).reshape(hidden.shape[:-1])


def _mass(logits: Tensor, shared: int) -> Tensor:
    # logsumexp of an empty tail is minus infinity, so that the mass is zero where nothing was trimmed
    return torch.exp(logits[:, shared:].logsumexp(dim=-1) - logits.logsumexp(dim=-1))
