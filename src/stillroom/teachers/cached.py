"""A teacher that answers from a store on disk; its weights are not loaded."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape
from stillroom.core.signals import HeadWeights, Request, Signals
from stillroom.teachers.store.answers import ONCE
from stillroom.teachers.store.keys import keys_of
from stillroom.teachers.store.reader import Store


class CachedTeacher:
    """Finds every sample of a batch by its content, wherever its padding lies. `shape` is that of the model."""

    def __init__(self, store: Store, shape: ModelShape) -> None:
        self.store = store
        self.shape = shape
        self._once = store.once

    def prepare(self, requests: Collection[Request]) -> None:
        """`BadInput` where the store does not hold the answers to `requests`."""
        if lacking := self.store.lacking(requests):
            held = ", ".join(self.store.manifest.requests)
            raise BadInput(
                f"{self.store.folder}: requests: the cache holds {held}, the recipe's objectives also read "
                f"{', '.join(map(repr, lacking))}; write a cache for this recipe with `stillroom cache` into another "
                "folder"
            )

    def to(self, device: torch.device) -> None:
        """What is the same for every sample goes to the device once; other answers go where the batch lies."""
        self._once = {request: _moved(answer, device) for request, answer in self._once.items()}

    def answer(self, batch: Batch, requests: Collection[Request]) -> Signals:
        """What the teacher said about its side of these samples; `BadInput` names one that is not in the store."""
        side = batch.teacher
        keys = list(keys_of(side))
        for row, key in enumerate(keys):
            if key not in self.store:
                raise BadInput(unknown(self.store, int(batch.sample_ids[row])))
        return Signals(
            {
                each: self._once[each] if isinstance(each, ONCE) else self.store.answer(each, keys, side)
                for each in requests
            },
            owner="cached teacher",
        )


def unknown(store: Store, sample: int, others: int = 0) -> str:
    """The sentence about a sample that a store does not hold."""
    more = f" (and {others} others)" if others else ""
    return (
        f"{store.folder}: sample {sample}{more} of the training data is not in the cache: its text, or how it is "
        "encoded, is not what the cache was written from; run `stillroom cache` with this recipe to add what is missing"
    )


def _moved(answer: Any, device: torch.device) -> Any:
    match answer:
        case HeadWeights():
            bias = answer.transform.bias
            transform = replace(answer.transform, bias=None if bias is None else bias.to(device))
            return HeadWeights(answer.weight.to(device), transform)
        case Tensor():
            return answer.to(device)
    raise TypeError(f"cannot move a {type(answer).__name__}")
