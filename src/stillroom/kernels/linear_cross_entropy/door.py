"""The door: checks what comes in and picks an engine.

sum_n weights[n] * -log softmax(transform(hidden[n] @ head.T))[targets[n]]
"""

from typing import Literal

from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._projection import Transform, projection
from stillroom.kernels.linear_cross_entropy._targets import checked_targets
from stillroom.kernels.linear_cross_entropy.plain import plain
from stillroom.kernels.linear_cross_entropy.streaming import streaming


def linear_cross_entropy(
    hidden: Tensor,
    head: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    transform: Transform | None = None,
    memory_budget: int | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> Tensor:
    """Weighted sum over rows of the cross-entropy on `targets [N]`, in nats; a float32 scalar.

    `hidden [N,d]`, `head [V,d]`, `weights [N]`; `transform` (usually `HeadTransform`) turns scores `[n,V]` to
    logits. `memory_budget` bounds the scratch memory of "streaming" in bytes; "auto" is "streaming".

    Gradients flow to hidden states, head and bias, once: a second derivative needs "plain". Rows of weight
    zero contribute nothing, whatever they and their targets hold. float64 inputs give a float64 sum. Raises
    `BadInput` where shapes, targets or settings do not fit.
    """
    student = projection("student", hidden, head, transform, weights, temperature=1.0)
    targets = checked_targets(targets, len(hidden), len(head), weights)
    weights = None if weights is None else weights.detach().to(student.sum_dtype)
    if impl == "plain":
        return plain(student, targets, weights)
    if impl in ("auto", "streaming"):
        return streaming(student, targets, weights, memory_budget)
    raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')
