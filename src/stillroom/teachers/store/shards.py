"""One shard: rows of many samples, one flat tensor for each part of each request, and where each sample lies.

Tensors: `keys [N,32]` uint8, `lengths [N]` and `predicted [N]` int32 (rows of a sample at real tokens, and where it is
predicted), and `request/part` with the rows of all samples one after the other.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from stillroom.core.progress import Advance
from stillroom.teachers.store.answers import Rows
from stillroom.teachers.store.manifest import FileEntry

KEYS, LENGTHS, PREDICTED = "keys", "lengths", "predicted"
PARTIAL = ".partial-"


class ShardBuilder:
    """Collects samples until the shard is large enough."""

    def __init__(self) -> None:
        self.bytes = 0
        self._keys: list[bytes] = []
        self._lengths: list[int] = []
        self._predicted: list[int] = []
        self._parts: dict[str, list[Tensor]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, key: bytes, length: int, predicted: int, parts: Rows) -> None:
        """The rows of one sample by "request/part", in the type that they are stored in."""
        self._keys.append(key)
        self._lengths.append(length)
        self._predicted.append(predicted)
        for name, rows in parts.items():
            self._parts.setdefault(name, []).append(rows)
            self.bytes += rows.nbytes

    def write(self, path: Path) -> FileEntry:
        keys = torch.from_numpy(np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, 32).copy())
        tensors = {
            KEYS: keys,
            LENGTHS: torch.tensor(self._lengths, dtype=torch.int32),
            PREDICTED: torch.tensor(self._predicted, dtype=torch.int32),
        }
        tensors |= {name: torch.cat(rows).contiguous() for name, rows in self._parts.items()}
        size, digest = publish(path, tensors)
        return FileEntry(path.name, size, digest, len(self), sum(self._lengths), sum(self._predicted))


def publish(path: Path, tensors: Rows) -> tuple[int, str]:
    """Write beside `path`, then rename: the file is whole or absent. Its size and sha256."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL, suffix=".safetensors")
    os.close(handle)
    partial = Path(name)
    try:
        save_file(tensors, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        found = measure(partial)
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return found


def measure(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def faults(folder: Path, entries: Sequence[FileEntry], advance: Advance | None = None) -> dict[str, str]:
    """By file, a sentence on every one that cannot be used and on what to do."""
    found = {}
    for number, entry in enumerate(entries):
        if reason := fault(folder, entry):
            found[entry.file] = f"{reason}; `stillroom cache` with --repair computes what it held anew"
        if advance is not None:
            advance(number + 1, len(entries), "verified")
    return found


def fault(folder: Path, entry: FileEntry) -> str | None:
    """Why a file of the store cannot be used, or None where it is as the manifest says."""
    path = folder / entry.file
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != entry.bytes:
        return f"{path} is damaged: it has {path.stat().st_size} bytes, and was written with {entry.bytes}"
    if measure(path)[1] != entry.sha256:
        return f"{path} is damaged: its sha256 is not the one it was written with"
    return None
