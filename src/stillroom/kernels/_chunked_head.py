"""A head and its loss in one pass over chunks of rows; the full logits never exist.

    total = sum_n weights[n] * loss(transform(hidden[n] @ head.T) / temperature)

While the logits of a chunk are there, their gradient is computed too and multiplied into the gradients of
hidden states and head, so the backward pass only scales what is ready and nothing is computed twice. The idea
is that of Liger Kernel (Hsu et al. 2024, arXiv:2410.10989). Gradients of head and bias are summed in float32.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.core.signals import HeadMixture, HeadTransform
from stillroom.kernels._projection import Projection, Scratch, Transform

DEFAULT_BUDGET = 128 * 2**20
"""Bytes of scratch unless told otherwise, or as many as the gradient of the head takes, if that is more."""


class ChunkLoss(Protocol):
    """A loss of single rows and its gradient."""

    matrices: int
    """How many `[n,V]` matrices it holds at once, the logits among them."""

    def __call__(
        self, rows: slice, logits: Tensor, scratch: Scratch, with_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Values `[n]` and, if asked for, their gradient `[n,V]` with respect to the logits.

        The logits lie in the scratch, as "scores", or apart from it; both may be overwritten.
        """
        ...


@dataclass
class Gradients:
    """Sums over rows for hidden states, head and bias; None where nobody asked."""

    hidden: Tensor | None = None
    head: Tensor | None = None
    bias: Tensor | None = None


def chunked_head_total(
    student: Projection, loss: ChunkLoss, weights: Tensor | None = None, memory_budget: int | None = None
) -> Tensor:
    """Weighted sum of the loss over all rows, a scalar; differentiable once, if the student asks."""
    inputs = (student.hidden, student.head, student.bias)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs):
        refuse_hidden_parameters(student.transform, student.head)
        return _ChunkedHead.apply(*inputs, student, loss, weights, memory_budget)
    values, _ = run_chunks(student, loss, weights, memory_budget, (False, False, False))
    return values.sum()


def chunked_head_rows(student: Projection, loss: ChunkLoss, memory_budget: int | None = None) -> Tensor:
    """The loss of every row, `[N]`, without gradient."""
    return run_chunks(student, loss, None, memory_budget, (False, False, False))[0]


class _ChunkedHead(torch.autograd.Function):
    """Computes the gradients in the forward pass, scales them in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        bias: Tensor | None,
        student: Projection,
        loss: ChunkLoss,
        weights: Tensor | None,
        memory_budget: int | None,
    ) -> Tensor:
        values, gradients = run_chunks(student, loss, weights, memory_budget, ctx.needs_input_grad[:3])
        ready = [
            None if gradient is None else gradient.to(tensor.dtype)
            for gradient, tensor in zip(
                (gradients.hidden, gradients.head, gradients.bias), (hidden, head, bias), strict=True
            )
        ]
        ctx.save_for_backward(*ready)
        return values.sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # once_differentiable would drop the second derivative in silence where upstream is a constant.
        if torch.is_grad_enabled():
            raise RuntimeError(
                'a chunked head is differentiable once; for create_graph=True use impl="plain"'
            )
        # Not in place: a retained graph may be walked again.
        scaled = [None if gradient is None else gradient * upstream for gradient in ctx.saved_tensors]
        return (*scaled, None, None, None, None)


@torch.no_grad()
def run_chunks(
    student: Projection,
    loss: ChunkLoss,
    weights: Tensor | None,
    memory_budget: int | None,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Gradients]:
    """Weighted values of all rows `[N]`, and the gradients of their sum; `wanted`: for hidden states, head, bias."""
    student = student.for_chunks()
    head, dtype = student.head, student.sum_dtype
    values = torch.empty(len(student.hidden), dtype=dtype, device=head.device)
    gradients = _empty_gradients(student, wanted)
    scratch = Scratch(len(head), head.device)
    with torch.autocast(head.device.type, enabled=False):
        for rows in chunks(student, loss.matrices, memory_budget):
            logits, graph = _transformed(student, rows, scratch, wanted)
            values[rows], slope = loss(rows, logits, scratch, any(wanted))
            if weights is not None:
                values[rows] *= weights[rows]
            if slope is not None:
                _scale(slope, None if weights is None else weights[rows], student.temperature)
                _accumulate(gradients, graph.pull(slope), student, rows, scratch)
    return values, gradients


def chunks(student: Projection, matrices: int, memory_budget: int | None) -> Iterator[slice]:
    """Chunks of nearly equal size whose scratch, so many matrices `[n,V]`, stays within the budget."""
    total, (columns, width) = len(student.hidden), student.head.shape
    entry = student.sum_dtype.itemsize
    if memory_budget is None:
        memory_budget = max(DEFAULT_BUDGET, columns * width * entry)
    elif memory_budget <= 0:
        raise BadInput(f"expected a positive memory budget in bytes, got {memory_budget}.")
    # A transform keeps its own intermediates; half precision keeps the product beside its float32 copy.
    matrices += 0 if student.is_plain_product else 3
    matrices += 0 if student.hidden.dtype == student.sum_dtype else 1
    at_most = max(1, memory_budget // (matrices * max(1, columns) * entry))
    size = max(1, math.ceil(total / max(1, math.ceil(total / at_most))))
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def _empty_gradients(student: Projection, wanted: tuple[bool, bool, bool]) -> Gradients:
    dtype, bias = student.sum_dtype, student.bias
    return Gradients(
        torch.empty_like(student.hidden, memory_format=torch.contiguous_format) if wanted[0] else None,
        torch.zeros(student.head.shape, dtype=dtype, device=student.head.device) if wanted[1] else None,
        torch.zeros_like(bias, dtype=dtype) if wanted[2] and bias is not None else None,
    )


@dataclass
class _TransformGraph:
    """From the gradient of the transformed scores back to scores and bias."""

    logits: Tensor | None = None
    inputs: tuple[Tensor, ...] = ()

    def pull(self, slope: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the scores `[n,V]` and, if it is wanted, of the bias."""
        return (slope,) if self.logits is None else torch.autograd.grad(self.logits, self.inputs, slope)


def _transformed(
    student: Projection, rows: slice, scratch: Scratch, wanted: tuple[bool, bool, bool]
) -> tuple[Tensor, _TransformGraph]:
    """Logits that may be overwritten, and the way back from them."""
    transform, graph = student.transform, _TransformGraph()
    if student.is_plain_product or not any(wanted):
        logits = student.chunk_logits(rows, scratch)
    else:
        scores = student.scores(rows, scratch)
        # The graph may keep what it was given, and the scratch will be written over.
        inputs = [scores.clone().requires_grad_()]
        if wanted[2] and isinstance(transform, HeadTransform) and transform.bias is not None:
            inputs.append(transform.bias.detach().requires_grad_())
            transform = replace(transform, bias=inputs[1])
        with torch.enable_grad():
            transformed = transform(inputs[0])
        graph = _TransformGraph(transformed, tuple(inputs))
        logits = scores.copy_(transformed.detach())
    return logits if student.temperature == 1.0 else logits.div_(student.temperature), graph


def _scale(slope: Tensor, weights: Tensor | None, temperature: float) -> None:
    if weights is not None:
        slope.mul_((weights / temperature).unsqueeze(1))
    elif temperature != 1.0:
        slope.div_(temperature)


def _accumulate(
    gradients: Gradients, slopes: tuple[Tensor, ...], student: Projection, rows: slice, scratch: Scratch
) -> None:
    """Add a chunk; `slopes` are the weighted gradients of its scores `[n,V]` and, if wanted, of the bias."""
    hidden, slope = student.hidden[rows], slopes[0]
    if gradients.bias is not None:
        gradients.bias.add_(slopes[1])
    # Accelerators multiply in half precision and sum in float32. CPUs can only round the product before it is
    # added, which would bias the gradient of the head, so there it is taken in float32.
    product = slope
    if hidden.dtype != slope.dtype:
        product = scratch.matrix("scores", len(hidden), hidden.dtype).copy_(slope)
    if gradients.hidden is not None:
        torch.mm(product, student.head, out=gradients.hidden[rows])
    if gradients.head is not None:
        if hidden.dtype != slope.dtype and hidden.is_cuda:
            torch.addmm(gradients.head, product.T, hidden, out_dtype=slope.dtype, out=gradients.head)
        else:
            gradients.head.addmm_(slope.T, hidden.to(slope.dtype))


def refuse_hidden_parameters(transform: Transform, head: Tensor) -> None:
    """A function may close over trainable tensors, which would silently get no gradient here."""
    if isinstance(transform, HeadMixture):
        raise BadInput(
            "expected one head where gradients are wanted, got a mixture of heads, which is computed in chunks only "
            'without them; use impl="plain", or torch.no_grad().'
        )
    if isinstance(transform, HeadTransform):
        return
    with torch.enable_grad():
        probe = transform(torch.zeros(1, len(head), device=head.device))
    if probe.requires_grad:
        raise BadInput(
            "expected a student transform without trainable tensors of its own, got a function that holds "
            'some; use HeadTransform for a trainable bias, or impl="plain".'
        )
