"""How much memory a training will take, term by term, and how long: from one row and one step of it.

    peak = weights of student and teacher + gradients + state of the optimizer + activations of one micro-batch

The first four are counted. Activations are measured: what autograd keeps of one forward pass over the longest sample
alone, times the samples of a micro-batch, and the largest passing extra on an accelerator. The time of a step is that
of the teacher, the objectives and the student on one micro-batch, forward and backward, after that row has warmed
everything up; the update itself is not in it. Nothing of this stays: random numbers, gradients, modes and the state of
objectives are as before.
"""

import copy
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from stillroom.core.batch import Batch
from stillroom.core.signals import Signals
from stillroom.teachers.teacher import Teacher
from stillroom.training.pair import Pair

if TYPE_CHECKING:
    from transformers import TrainingArguments

WEIGHTS, TEACHER, GRADIENTS, OPTIMIZER, ACTIVATIONS = (
    "the student's weights",
    "the teacher's weights",
    "gradients",
    "the optimizer's state",
    "activations",
)
ADVICE = {
    WEIGHTS: "choose a smaller student, or student.dtype: bfloat16",
    TEACHER: "set teacher.dtype: bfloat16, or keep its answers with `stillroom cache` and set teacher.use: cached",
    GRADIENTS: "train adapters (student.lora), or set student.dtype: bfloat16",
    OPTIMIZER: "set training.optim to adafactor or adamw_8bit, or train adapters (student.lora)",
    ACTIVATIONS: "lower training.per_device_train_batch_size (and raise gradient_accumulation_steps), set "
    "training.gradient_checkpointing: true, or lower data.max_length",
}

_STATES = (
    (r"sgd", 0.0),
    (r".*8bit.*", 0.5),
    (r".*4bit.*", 0.25),
    (r"adafactor|galore_adafactor.*", 0.1),
    (r"came", 1.1),
    (r"galore.*|apollo.*", 1.0),
    (r"(paged_)?lion.*|rmsprop.*|adagrad|microadam", 1.0),
    (r"(paged_)?ademamix.*", 3.0),
)
"""Numbers that an optimizer keeps for each that it trains, in the format of the weights; Adam and others keep two."""


@dataclass(frozen=True)
class Forecast:
    """Bytes on each device, and seconds of the whole training."""

    terms: dict[str, int] = field(default_factory=dict)
    """By name, in the order in which they come into memory."""
    available: int = 0
    """Bytes that training could have, what the weights already take included."""
    step_seconds: float | None = None
    """Of one optimizer step, all its micro-batches; None where it was not tried."""
    steps: int = 0

    @property
    def peak(self) -> int:
        return sum(self.terms.values())

    @property
    def seconds(self) -> float | None:
        return None if self.step_seconds is None else self.step_seconds * self.steps

    @property
    def too_large(self) -> str | None:
        """The term with which memory ends; None where all of them fit."""
        total = 0
        for name, size in self.terms.items():
            total += size
            if total > self.available:
                return name
        return None


def counted_terms(
    pair: Pair, teacher_models: Sequence[nn.Module], optimizer: str, momentum: bool
) -> dict[str, int]:
    """The terms that follow from sizes alone, in bytes. `teacher_models` are those in memory."""
    trained = [each for each in pair.parameters() if each.requires_grad]
    gradients = sum(each.numel() * each.element_size() for each in trained)
    return {
        WEIGHTS: _bytes(pair),
        TEACHER: sum(map(_bytes, teacher_models)),
        GRADIENTS: gradients,
        OPTIMIZER: int(states(optimizer, momentum) * gradients),
    }


def states(optimizer: str, momentum: bool = False) -> float:
    """Numbers that the optimizer called `optimizer` keeps for each trained one."""
    if optimizer == "sgd" and momentum:
        return 1.0
    return next((size for pattern, size in _STATES if re.fullmatch(pattern, optimizer)), 2.0)


def available_memory(device: torch.device) -> int:
    """Bytes that are free on `device`, for this process: on a CPU what the system and the container leave."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [_system_free(), *_container_free()]
    return min(limits)


def _system_free() -> int:
    import os

    table = Path("/proc/meminfo")
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_free() -> list[int]:
    """What the limit of a container leaves; files that are only kept in memory do not count against it."""
    folder = Path("/sys/fs/cgroup")
    try:
        most = int((folder / "memory.max").read_text())
        facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no limit ("max"), or no such files
        return []
    return [most - int(facts["anon"])] if "anon" in facts else []


# --- what is tried ------------------------------------------------------------------------------------------------


class Rehearsal:
    """Forward and backward passes as training makes them, on a stand-in for the pair that leaves no trace."""

    def __init__(self, pair: Pair, teacher: Teacher | None, arguments: "TrainingArguments") -> None:
        self.pair, self.teacher, self.arguments = _stand_in(pair), teacher, arguments
        self.device = arguments.device

    def activations(self, inputs: Mapping[str, Tensor]) -> int:
        """Bytes that autograd keeps of one forward pass, weights not counted, and what passes beside them."""
        kept: dict[int, int] = {}
        weights = {each.untyped_storage().data_ptr() for each in self.pair.parameters()}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        before = self._allocated(reset=True)
        with (
            no_trace(self.pair, self.device),
            torch.autograd.graph.saved_tensors_hooks(note, lambda each: each),
        ):
            self._step(inputs)
        passing = self._allocated() - before
        return max(sum(kept.values()), passing)

    def seconds(self, inputs: Mapping[str, Tensor]) -> float:
        """Of one forward and backward pass over a micro-batch, teacher included."""
        self._wait()
        start = time.perf_counter()
        with no_trace(self.pair, self.device):
            self._step(inputs)
            self._wait()
        return time.perf_counter() - start

    def _step(self, inputs: Mapping[str, Tensor]) -> None:
        moved = {name: value.to(self.device) for name, value in inputs.items()}
        batch = Batch.from_inputs(moved)
        with torch.enable_grad(), self._autocast():
            asks = self.teacher is not None and self.pair.teacher_requests
            answers = (
                self.teacher.answer(batch, self.pair.teacher_requests) if asks else Signals({}, "teacher")
            )
            totals, counts, factors = self.pair(moved, answers), self.pair.counts(batch), self.pair.factors()
            loss = torch.stack(
                [
                    factors[key] * total / counts[key].clamp(min=1).to(total.device)
                    for key, total in totals.items()
                ]
            ).sum()
        if loss.requires_grad:
            loss.backward()

    def _autocast(self) -> Any:
        halves = {"bf16": torch.bfloat16, "fp16": torch.float16}
        dtype = next((dtype for name, dtype in halves.items() if getattr(self.arguments, name)), None)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def _allocated(self, reset: bool = False) -> int:
        if self.device.type != "cuda":
            return 0
        if reset:
            torch.cuda.reset_peak_memory_stats(self.device)
            return torch.cuda.memory_allocated(self.device)
        return torch.cuda.max_memory_allocated(self.device)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextmanager
def no_trace(pair: nn.Module, device: torch.device) -> Iterator[None]:
    """Training mode for a while; random numbers, gradients and every module's mode are as before afterwards."""
    modes = [(module, module.training) for module in pair.modules()]
    numpy_state, python_state = np.random.get_state(), random.getstate()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        pair.train()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training
            for each in pair.parameters():
                each.grad = None
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _stand_in(pair: Pair) -> Pair:
    """The same student, and copies of the objectives: those may remember what they saw."""
    other = copy.copy(pair)
    other._modules = {**pair._modules, "parts": copy.deepcopy(pair.parts)}
    return other


def _bytes(model: nn.Module) -> int:
    tensors = {each.data_ptr(): each for each in (*model.parameters(), *model.buffers())}
    return sum(each.numel() * each.element_size() for each in tensors.values())
