"""The door: checks what comes in and picks an engine.

    values[n] = log softmax(transform(hidden[n] @ head.T) / temperature)[targets[n]]

What is made of the values may be any function of them, a product of sums over chunks say: every row has a gradient of
its own. Where only their weighted sum is wanted, `linear_cross_entropy` computes no logits twice.
"""

from typing import Literal

from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._projection import Transform, projection
from stillroom.kernels.linear_cross_entropy._targets import checked_targets
from stillroom.kernels.linear_log_likelihood.plain import plain
from stillroom.kernels.linear_log_likelihood.streaming import streaming


def linear_log_likelihood(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    transform: Transform | None = None,
    temperature: float = 1.0,
    memory_budget: int | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> Tensor:
    """Log-probability of each row's target, `[N]` in nats and float32.

    `hidden [N,d]`, `head [V,d]`, `targets [N]`; `transform` (usually `HeadTransform`) turns scores `[n,V]` to logits.
    `memory_budget` bounds the scratch memory of "streaming" in bytes; "auto" is "streaming".

    Gradients flow to hidden states, head and bias, once: a second derivative needs "plain". float64 inputs give
    float64 values. Raises `BadInput` where shapes, targets or settings do not fit.
    """
    model = projection("model", hidden, head, transform, weights=None, temperature=temperature)
    targets = checked_targets(targets, len(hidden), len(head), weights=None)
    if impl == "plain":
        return plain(model, targets)
    if impl in ("auto", "streaming"):
        return streaming(model, targets, memory_budget)
    raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')
