"""Which engine computes: Triton on a CUDA device that has it, blocks of PyTorch everywhere else."""

import importlib.util
import os

import torch
from torch import Tensor

from stillroom.core.errors import BadInput

ENGINES = ("plain", "streaming", "triton")


def chosen_engine(impl: str, query: Tensor) -> str:
    """One of `ENGINES` for `impl`, which may be "auto"; `BadInput` where it does not exist or cannot run here."""
    if impl == "auto":
        is_triton = query.is_cuda and query.dtype != torch.float64 and _has_triton()
        return "triton" if is_triton else "streaming"
    if impl not in ENGINES:
        raise BadInput(f'expected impl to be "auto", "plain", "streaming" or "triton", got {impl!r}.')
    if impl == "triton":
        _check_triton(query)
    return impl


def _check_triton(query: Tensor) -> None:
    instead = 'use impl="streaming".'
    if not _has_triton():
        raise BadInput(f'impl="triton" needs the package triton, which is not installed; {instead}')
    if not query.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise BadInput(f'impl="triton" needs tensors on a CUDA device, got {query.device.type}; {instead}')
    if query.dtype == torch.float64:
        raise BadInput(f'impl="triton" computes in float32, got float64 inputs; {instead}')


def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
