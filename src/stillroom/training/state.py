"""Training state on disk as safetensors and JSON: nothing that executes when it is read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

_TENSOR, _TUPLE, _MAP = "__tensor__", "__tuple__", "__map__"


def save_state(path: Path, state: Any) -> None:
    """Write nested dicts, lists, tuples, numbers, strings and tensors (numpy arrays become tensors)."""
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, tensors)
    save_file(tensors, path, metadata={"state": json.dumps(skeleton)})


def load_state(path: Path) -> Any:
    """What `save_state` wrote, tensors on the CPU."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        return _unpack(json.loads(file.metadata()["state"]), tensors)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value.astype(np.int64))
    if isinstance(value, Tensor):
        key = str(len(tensors))
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: key}
    if isinstance(value, dict):
        # Keys of an optimizer's state are integers, which JSON would turn into strings.
        return {_MAP: [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"cannot save a {type(value).__name__} in a checkpoint: {value!r}")


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_unpack(item, tensors) for item in value[_TUPLE])
    return {key: _unpack(item, tensors) for key, item in value[_MAP]}
