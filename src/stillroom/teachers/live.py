"""A teacher that answers from its weights, beside the student in memory.

It is not a module: inside the student's module it would be counted, saved, sharded and switched to training
mode.
"""

from collections.abc import Collection

import torch
from torch import nn

from stillroom.core.batch import Batch
from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Request, Signals
from stillroom.taps.capture import capture
from stillroom.taps.prepare import prepare
from stillroom.taps.shape import model_shape


class LiveTeacher:
    """A frozen model in evaluation mode whose weights have been found finite.

    `vocab_size` is the vocabulary that head, embedding and logits are trimmed to (None: all rows); `vocabulary` its
    identity, see `stillroom.alignment.vocabulary`; `tokens` and `end_token` what objectives over two vocabularies need.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        vocab_size: int | None = None,
        vocabulary: str = "",
        tokens: ByteTable | None = None,
        end_token: int | None = None,
    ) -> None:
        scan_weights(model)
        self.model = model.eval().requires_grad_(False)
        self.vocab_size = vocab_size
        self.shape: ModelShape = model_shape(model, vocab_size, vocabulary, tokens, end_token)

    @property
    def members(self) -> "tuple[LiveTeacher, ...]":
        """Itself, as the only one: see `stillroom.teachers.ensemble`."""
        return (self,)

    def prepare(self, requests: Collection[Request]) -> None:
        """Check once, before training, that the model can answer `requests`: see `stillroom.taps.prepare`."""
        prepare(self.model, requests)

    def to(self, device: torch.device) -> None:
        """Move the weights, and with them the answers."""
        self.model.to(device)

    def answer(self, batch: Batch, requests: Collection[Request]) -> Signals:
        """What the teacher says about its side of the batch, without gradient."""
        self._check_at_rest()
        # no_grad and not inference_mode: the answers are saved for the student's backward pass
        with torch.no_grad():
            return capture(self.model, batch.teacher, requests, vocab_size=self.vocab_size, owner="teacher")

    def check_distinct(self, student: nn.Module) -> None:
        """Refuse a student that shares parameters with the teacher: they would be frozen or both train."""
        owned = {id(parameter) for parameter in self.model.parameters()}
        for name, parameter in student.named_parameters():
            if id(parameter) in owned:
                raise BadInput(
                    f"Expected student and teacher to be two models, but they share the parameter {name!r}: "
                    "load the model a second time for the teacher."
                )

    def _check_at_rest(self) -> None:
        for name, module in self.model.named_modules():
            if module.training:
                raise BadInput(
                    f"Expected the teacher in evaluation mode, but its module {name or 'itself'!r} is in "
                    "training mode, where dropout changes every answer: do not call train() on the teacher."
                )


@torch.no_grad()
def scan_weights(model: nn.Module) -> None:
    """Raise `BadInput` with the name of the first saved tensor that holds NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            continue
        if tensor.dtype.itemsize == 1:  # isfinite is not defined for 8-bit floats
            tensor = tensor.to(torch.bfloat16)
        broken = tensor.numel() - int(torch.isfinite(tensor).sum())
        if broken:
            raise BadInput(
                f"Expected finite weights, but {name} {tuple(tensor.shape)} holds {broken} values that are "
                "NaN or infinite: the file is damaged or was written by a failed run, get another copy."
            )
