"""What the benchmarks share: interleaved times, growth of peak memory, and what machine and versions they ran on.

Time: all contenders in one process, repeats interleaved, the first one a warm-up. Memory: each contender in a new
process; growth of the peak resident set (VmHWM, Linux) over one call, after a call that warms up allocators and
compilers. On a CUDA device it is the growth of the allocator's peak.
"""

import ctypes
import gc
import importlib.metadata
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Step = Callable[[], object]


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""Where others work on the same cores, seconds of the processor are fairer; on one thread only, since they add up."""


def times(
    steps: Mapping[str, Step], repeats: int, device: str = "cpu", clock: str = "wall"
) -> dict[str, list[float]]:
    """Seconds of every repeat of every step; a step prepares what it needs inside its own time."""
    read = CLOCKS[clock]
    found: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            wait(device)
            start = read()
            step()
            wait(device)
            if repeat > 0:
                found[name].append(read() - start)
    return found


def wait(device: str) -> None:
    if device != "cpu":
        torch.accelerator.synchronize(device)


def peak_growth(step: Step, forget: Step, device: str = "cpu") -> int:
    """Bytes by which one call of `step` raises the peak; `forget` drops what the first, unmeasured call left."""
    step()
    forget()
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = resident_peak()
    step()
    return resident_peak() - before


def resident_peak() -> int:
    """Most bytes of memory that this process held at once."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024


def in_fresh_process(script: str, arguments: Sequence[str]) -> int:
    """The number that a script prints last."""
    return numbers_from_fresh_process(script, arguments)[-1]


def numbers_from_fresh_process(script: str, arguments: Sequence[str]) -> list[int]:
    """The numbers of the last line that a script prints."""
    result = subprocess.run(
        [sys.executable, script, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return [int(number) for number in result.stdout.splitlines()[-1].split()]


def save(result: dict, page: str, folder: Path, name: str) -> None:
    """The numbers as JSON and the page beside them, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    (folder / f"{name}.md").write_text(page)


def versions(*packages: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine(device: str = "cpu") -> str:
    """The device in words."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in lines if "model name" in line)
    return f"CPU ({next(models, platform.processor())}), {torch.get_num_threads()} threads"
