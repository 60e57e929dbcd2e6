"""The door: checks what comes in and picks an engine.

P_n = softmax(transform(hidden[n] @ head.T) / temperature)
entropy[n] = - sum_v P_n(v) log P_n(v),   top_probability[n] = max_v P_n(v),   top_id[n] = argmax_v P_n(v)
"""

from typing import Literal

from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._projection import Transform, projection
from stillroom.kernels.linear_statistics.head_statistics import HeadStatistics
from stillroom.kernels.linear_statistics.plain import plain
from stillroom.kernels.linear_statistics.streaming import streaming


def linear_statistics(
    hidden: Tensor,
    head: Tensor,
    *,
    transform: Transform | None = None,
    temperature: float = 1.0,
    weights: Tensor | None = None,
    memory_budget: int | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> HeadStatistics:
    """Entropy `[N]` in nats, largest probability `[N]` and its token `[N]`, without gradient.

    `hidden [N,d]`, `head [V,d]`; `transform` (usually `HeadTransform` or `HeadMixture`) turns scores `[n,V]` to logits.
    `weights [N]` only say which rows count: those of weight zero may hold anything, and their statistics are finite
    and mean nothing. `memory_budget` bounds the scratch memory of "streaming" in bytes; "auto" is "streaming".

    float32, or float64 for float64 inputs. Raises `BadInput` where shapes or settings do not fit.
    """
    model = projection("model", hidden, head, transform, weights, temperature)
    if impl == "plain":
        return plain(model)
    if impl in ("auto", "streaming"):
        return streaming(model, memory_budget)
    raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')
