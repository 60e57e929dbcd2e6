"""Chunks of rows, twice: for the values, and once the gradient of every value is known, for theirs.

With u[n] the gradient of value n, that of the logits is u[n] (onehot - softmax): the gradient of a cross-entropy with
the weights -u, which `_chunked_head` computes. Between the two passes nothing is kept but what came in.
"""

from typing import Any

import torch
from torch import Tensor

from stillroom.kernels._chunked_head import chunked_head_rows, refuse_hidden_parameters, run_chunks
from stillroom.kernels._projection import Projection, Transform
from stillroom.kernels.linear_cross_entropy.streaming import CrossEntropyOfRows


def streaming(model: Projection, targets: Tensor, memory_budget: int | None) -> Tensor:
    """Log-probability of each row's target, `[N]`; scratch within `memory_budget` bytes."""
    inputs = (model.hidden, model.head, model.bias)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in inputs):
        refuse_hidden_parameters(model.transform, model.head)
        return _LogLikelihood.apply(*inputs, targets, model.transform, model.temperature, memory_budget)
    return -chunked_head_rows(model, CrossEntropyOfRows(targets), memory_budget)


class _LogLikelihood(torch.autograd.Function):
    """Keeps its inputs, and computes the logits again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: Transform,
        temperature: float,
        memory_budget: int | None,
    ) -> Tensor:
        # Autocast may be over in the backward pass, so its type is kept; the copies it asks for are not.
        model = Projection(hidden, head, transform, temperature).for_chunks()
        ctx.save_for_backward(hidden, head, bias, targets)
        ctx.dtype, ctx.memory_budget = model.hidden.dtype, memory_budget
        ctx.settings = transform, temperature
        return -chunked_head_rows(model, CrossEntropyOfRows(targets), memory_budget)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # once_differentiable would drop the second derivative in silence where upstream is a constant.
        if torch.is_grad_enabled():
            raise RuntimeError(
                'a chunked head is differentiable once; for create_graph=True use impl="plain"'
            )
        hidden, head, bias, targets = ctx.saved_tensors
        with torch.autocast(head.device.type, enabled=False):
            model = Projection(hidden.to(ctx.dtype), head.to(ctx.dtype), *ctx.settings)
            _, gradients = run_chunks(
                model, CrossEntropyOfRows(targets), -upstream, ctx.memory_budget, ctx.needs_input_grad[:3]
            )
        found = (gradients.hidden, gradients.head, gradients.bias)
        ready = [
            None if gradient is None else gradient.to(tensor.dtype)
            for gradient, tensor in zip(found, (hidden, head, bias), strict=True)
        ]
        return (*ready, None, None, None, None)
