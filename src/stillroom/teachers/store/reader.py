"""A finished store, opened for reading: every file verified, rows read from mapped memory when they are asked for."""

from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from stillroom.core.batch import Side
from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance
from stillroom.core.signals import Request
from stillroom.teachers.store.answers import (
    ONCE,
    WHERE_PREDICTED,
    Rows,
    from_rows,
    positions,
    request_name,
    unpack_once,
)
from stillroom.teachers.store.manifest import Manifest, read_manifest
from stillroom.teachers.store.shards import KEYS, LENGTHS, PREDICTED, faults


class Store:
    """The answers in `folder`. Raises `BadInput` where the store is unfinished or a file is missing or damaged."""

    def __init__(self, folder: Path, advance: Advance | None = None) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        if not self.manifest.complete:
            raise BadInput(
                f"{folder} is unfinished: {sum(each.samples for each in self.manifest.shards)} of "
                f"{self.manifest.samples} samples are in it; go on with the `stillroom cache` that was stopped"
            )
        if found := faults(folder, self.manifest.files, advance):
            raise BadInput("\n".join(found.values()))
        self._files = [safe_open(folder / each.file, framework="pt") for each in self.manifest.shards]
        self._shard: dict[bytes, tuple[int, int]] = {}
        self._starts: list[dict[str, np.ndarray]] = []
        for number, file in enumerate(self._files):
            keys = file.get_tensor(KEYS).numpy()
            self._shard |= {key.tobytes(): (number, row) for row, key in enumerate(keys)}
            ends = {name: file.get_tensor(name).numpy() for name in (LENGTHS, PREDICTED)}
            self._starts.append({name: np.cumsum([0, *counts]) for name, counts in ends.items()})
        self.once: dict[Request, Any] = {}
        if self.manifest.once is not None:
            with safe_open(folder / self.manifest.once.file, framework="pt") as file:
                self.once = unpack_once({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118

    def __contains__(self, key: bytes) -> bool:
        return key in self._shard

    def other_versions(self) -> list[str]:
        """A sentence for each library that has another version than the writer had: last digits may differ."""
        return [
            f"{self.folder} was written with {package} {before}, and this is {now}: last digits may differ."
            for package, before in self.manifest.versions.items()
            if (now := version(package)) != before
        ]

    def lacking(self, requests: Collection[Request]) -> list[Request]:
        """The requests that are not stored."""
        return [each for each in requests if request_name(each) not in self.manifest.requests]

    def answer(self, request: Request, keys: list[bytes], side: Side) -> Any:
        """To a request about single samples: for the rows of `side`, whose keys are `keys`, on its device."""
        assert not isinstance(request, ONCE), "answers of the whole store are in `once`"
        name, kept = request_name(request), positions(request, side)
        rows: Rows = {}
        for part, dtype in self.manifest.requests[name].items():
            found = torch.cat([self._rows(request, f"{name}/{part}", key) for key in keys])
            found = found.to(kept.device).to(getattr(torch, dtype))
            rows[part] = found.new_zeros(*kept.shape, *found.shape[1:])
            rows[part][kept] = found
        return from_rows(request, rows, side)

    def _rows(self, request: Request, tensor: str, key: bytes) -> Tensor:
        shard, row = self._shard[key]
        counted = PREDICTED if isinstance(request, WHERE_PREDICTED) else LENGTHS
        start, end = self._starts[shard][counted][row : row + 2]
        return self._files[shard].get_slice(tensor)[int(start) : int(end)]
