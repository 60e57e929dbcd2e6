"""Evaluation mode for a while: dropout off, and every module's own mode restored afterwards.

`model.train()` would not do as a way back: it wakes modules that were asleep before (a frozen dropout, say).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(*models: nn.Module) -> Iterator[None]:
    """Put `models` into evaluation mode without gradients.

    No gradients rather than inference mode: what a model keeps between calls (rotary tables) must stay usable
    in the training that goes on afterwards.
    """
    before = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in before:
            module.training = training
