"""Checkpoints that are whole or absent: written aside, listed in a manifest with hashes, then renamed."""

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically
from stillroom.training.state import load_state, save_state

MANIFEST, WEIGHTS, OPTIMIZER, PROGRESS = (
    "MANIFEST.json",
    "trainable.safetensors",
    "optimizer.safetensors",
    "progress.json",
)


@contextmanager
def publish(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` to write into; on leaving, add the manifest and rename it to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".partial-{target.name}-"))
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private
        files = {path.name: _entry(path) for path in sorted(partial.iterdir())}
        write_text_atomically(partial / MANIFEST, json.dumps({"schema": 1, "files": files}, indent=1))
        if target.exists():
            shutil.rmtree(target)
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _entry(path: Path) -> dict[str, object]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        os.fsync(file.fileno())
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be used, or None if every file is there, of the right size and content."""
    manifest = checkpoint / MANIFEST
    if not manifest.exists():
        return f"{checkpoint.name} has no {MANIFEST}: it was not finished, or is not one of ours"
    try:
        files = json.loads(manifest.read_text())["files"]
    except (json.JSONDecodeError, KeyError):
        return f"{checkpoint.name}: {MANIFEST} cannot be read"
    for name, expected in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{checkpoint.name}: {name} is missing"
        if _entry(path) != expected:
            return f"{checkpoint.name}: {name} is damaged (size or sha256 differs from {MANIFEST})"
    return None


def checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest step first."""
    found = [path for path in run.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[11:]))


def newest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest usable checkpoint, and why each newer one was passed over."""
    reasons = []
    for path in reversed(checkpoints(run)):
        reason = fault(path)
        if reason is None:
            return path, reasons
        reasons.append(reason)
    return None, reasons


def retain(run: Path, keep: int | None, best: Path | None = None) -> None:
    """Delete the oldest checkpoints beyond `keep`, but not `best`. Folders without a manifest are not ours."""
    ours = [path for path in checkpoints(run) if (path / MANIFEST).exists()]
    for path in ours[: -max(keep, 1)] if keep else []:
        if path != best:
            shutil.rmtree(path)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: each for name, each in module.named_parameters() if each.requires_grad}


def save_weights(module: nn.Module, folder: Path) -> None:
    save_file(
        {name: each.detach().contiguous() for name, each in trainable(module).items()}, folder / WEIGHTS
    )


def load_weights(module: nn.Module, folder: Path) -> None:
    """Copy the trained parameters back; names must match exactly."""
    stored, wanted = load_file(folder / WEIGHTS), trainable(module)
    if stored.keys() != wanted.keys():
        differing = sorted(stored.keys() ^ wanted.keys())
        raise BadInput(
            f"{folder} was written by another student or other objectives: {len(differing)} parameters differ, "
            f"first {differing[0]!r}. Resume with the recipe that wrote it, or choose another --output"
        )
    with torch.no_grad():
        for name, each in wanted.items():
            each.copy_(stored[name])


def save_random(path: Path) -> None:
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # type: ignore[misc]
    state = {
        "python": random.getstate(),
        "numpy": (kind, keys, position, has_gauss, cached),
        "cpu": torch.random.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    save_state(path, state)


def load_random(path: Path) -> None:
    state = load_state(path)
    random.setstate(state["python"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.random.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
