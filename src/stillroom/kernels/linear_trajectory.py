"""What K layers of two models say through their heads, and how it changes from layer to layer; no logits are kept.

    y_k        = log softmax( transform( states_k @ head.T ) )      [V], of every row
    divergence = sum_k sum_n KL( softmax(y_k / temperature) of the teacher || the same of the student )
    change     = sum_k sum_n 1 - cos( y_{k+1} - y_k of the student, y_{k+1} - y_k of the teacher )

A change needs two layers, and both sums read the same logits: so a chunk is a few rows in all their layers. The
backward pass makes the logits of a chunk again. To keep the gradients that are ready in the forward pass, as
`_chunked_head` does, would take one gradient of the head for each of the two sums.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stillroom.core.errors import BadInput
from stillroom.kernels._chunked_head import chunks
from stillroom.kernels._projection import Projection, Transform, projection
from stillroom.numerics.divergence import forward_kl

MATRICES = 9
"""How many `[K,n,V]` matrices a chunk holds at once while its gradient is computed."""


def linear_trajectory(
    student_states: Tensor,
    student_head: Tensor,
    teacher_states: Tensor,
    teacher_head: Tensor,
    *,
    temperature: float = 1.0,
    student_transform: Transform | None = None,
    teacher_transform: Transform | None = None,
    memory_budget: int | None = None,
    impl: Literal["auto", "plain", "streaming"] = "auto",
) -> tuple[Tensor, Tensor]:
    """Divergence in nats, and change (each 0 to 2), summed over rows and layers: two float32 scalars.

    `student_states [K,N,d]`, `student_head [V,d]`, `teacher_states [K,N,D]`, `teacher_head [V,D]`; layers in order.
    A row that two layers say alike has no direction of change: it is one away from any other. `temperature` divides
    what is compared by KL alone. Transforms (usually `HeadTransform`) turn scores to logits.
    `memory_budget` bounds the scratch memory of "streaming" in bytes; "auto" is "streaming". Gradients flow to the
    student's states, head and bias, never to the teacher. float64 inputs give float64 sums. Raises `BadInput` where
    shapes or settings do not fit.
    """
    if student_states.dim() != 3 or student_states.shape[:2] != teacher_states.shape[:2]:
        raise BadInput(
            "expected states [K,N,d] of the same K layers and N rows of student and teacher, got "
            f"{list(student_states.shape)} and {list(teacher_states.shape)}; stack the layers of the same positions."
        )
    if len(student_head) != len(teacher_head):
        raise BadInput(
            f"expected student and teacher with the same vocabulary V, got heads {list(student_head.shape)} and "
            f"{list(teacher_head.shape)}; trim both to the shared vocabulary."
        )
    student, teacher = (
        projection(owner, states[0], head, transform, None, temperature)
        for owner, states, head, transform in (
            ("student", student_states, student_head, student_transform),
            ("teacher", teacher_states, teacher_head, teacher_transform),
        )
    )
    if impl == "plain":
        return _sums(student, student_states, teacher, teacher_states)
    if impl not in ("auto", "streaming"):
        raise BadInput(f'expected impl to be "auto", "plain" or "streaming", got {impl!r}.')
    sizes = [
        each.stop - each.start for each in chunks(student, MATRICES * len(student_states), memory_budget)
    ]
    parts = zip(
        student_states.split(sizes or [0], dim=1), teacher_states.split(sizes or [0], dim=1), strict=True
    )
    sums = [
        checkpoint(_sums, student, ours, teacher, theirs, use_reentrant=False, preserve_rng_state=False)
        for ours, theirs in parts
    ]
    divergence, change = (torch.stack(each).sum() for each in zip(*sums, strict=True))
    return divergence, change


def _sums(student: Projection, ours: Tensor, teacher: Projection, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Both sums over rows whose layers are `ours [K,n,d]` and `theirs [K,n,D]`."""
    with torch.no_grad():
        log_p = _log_probabilities(teacher, theirs).to(student.sum_dtype)
    log_q = _log_probabilities(student, ours)
    divergence = forward_kl(_soft(log_p, teacher.temperature), _soft(log_q, student.temperature)).sum()
    change = 1 - _cosine(log_q.diff(dim=0), log_p.diff(dim=0))
    return divergence, change.sum()


def _log_probabilities(model: Projection, states: Tensor) -> Tensor:
    """Of `states [K,n,D]`, at temperature one: `[K,n,V]`."""
    # one product of matrices: in three dimensions PyTorch may copy the head once for each layer
    logits = replace(model, hidden=states.flatten(0, 1), temperature=1.0).logits()
    return logits.log_softmax(dim=-1).unflatten(0, states.shape[:2])


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Of vectors in the last dimension. What is zero has no direction: its cosine is zero, its gradient finite."""
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    return torch.linalg.vecdot(first, second) / torch.where(lengths > 0, lengths, 1.0)


def _soft(log_probabilities: Tensor, temperature: float) -> Tensor:
    """The same at another temperature: what log softmax took off is the same for all tokens."""
    return log_probabilities if temperature == 1 else (log_probabilities / temperature).log_softmax(dim=-1)
