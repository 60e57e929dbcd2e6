"""The door: checks what comes in and picks an engine.

    sum_n weights[n] * divergence(P_n, Q_n),   P_n = softmax(teacher logits / temperature), Q_n the student's

The square of the temperature is not applied here: that is a setting of objectives. P and Q may be over different
vocabularies where the divergence can compare such: one that sorts, or that knows which tokens are the same.
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal

from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._projection import Transform, projection
from stillroom.kernels.linear_divergence.plain import plain
from stillroom.kernels.linear_divergence.streaming import streaming
from stillroom.numerics.divergence import DIVERGENCES

Divergence = Callable[[Tensor, Tensor], Tensor]
"""`(log_p [n,W], log_q [n,V]) -> [n]`, differentiable in log_q."""


def linear_divergence(
    student_hidden: Tensor,
    student_head: Tensor,
    teacher_hidden: Tensor,
    teacher_head: Tensor,
    *,
    divergence: str | Divergence,
    temperature: float = 1.0,
    weights: Tensor | None = None,
    student_transform: Transform | None = None,
    teacher_transform: Transform | None = None,
    memory_budget: int | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> Tensor:
    """Weighted sum over rows of the divergence between teacher P and student Q, in nats; a float32 scalar.

    `student_hidden [N,d]`, `student_head [V,d]`, `teacher_hidden [N,D]`, `teacher_head [W,D]`, `weights [N]`.
    `divergence` is a name of `DIVERGENCES`, for W = V, or a function of log-probabilities that treats every row alone.
    Transforms (usually `HeadTransform`) turn scores `[n,V]` to logits. `memory_budget` bounds the scratch
    memory of "streaming" in bytes; "auto" is "streaming".

    Gradients flow to the student's hidden states, head and bias, once: a second derivative needs "plain".
    They never flow to the teacher or to weights. Rows of weight zero contribute nothing, whatever they hold.
    float64 inputs give a float64 sum. Raises `BadInput` where shapes or settings do not fit.
    """
    student = projection("student", student_hidden, student_head, student_transform, weights, temperature)
    teacher = projection("teacher", teacher_hidden, teacher_head, teacher_transform, weights, temperature)
    if len(student_hidden) != len(teacher_hidden):
        raise BadInput(
            "expected student and teacher with the same rows N, got hidden states "
            f"{list(student_hidden.shape)} and {list(teacher_hidden.shape)}; select the same positions of both."
        )
    compare = _resolve(divergence)
    if len(student_head) != len(teacher_head) and compare in DIVERGENCES.values():
        raise BadInput(
            "expected student and teacher with the same vocabulary V for a divergence of the catalog, got heads "
            f"{list(student_head.shape)} and {list(teacher_head.shape)}; trim both to the shared vocabulary, or give a "
            "function that compares two vocabularies."
        )
    weights = None if weights is None else weights.detach().to(student.sum_dtype)
    if impl == "plain":
        return plain(student, teacher, compare, weights)
    if impl in ("auto", "streaming"):
        return streaming(student, teacher, compare, weights, memory_budget)
    raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')


def _resolve(divergence: str | Divergence) -> Divergence:
    if not isinstance(divergence, str):
        return divergence
    if divergence not in DIVERGENCES:
        close = get_close_matches(divergence, DIVERGENCES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(DIVERGENCES)}."
        raise BadInput(f"expected the name of a divergence, got {divergence!r}; {hint}")
    return DIVERGENCES[divergence]
