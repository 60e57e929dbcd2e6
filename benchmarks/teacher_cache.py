"""What a cache of teacher statistics costs on disk and saves in a training step.

    python benchmarks/teacher_cache.py                         # the sizes below, into benchmarks/results/
    python benchmarks/teacher_cache.py --layers 2 --length 64 --repeats 1 --output /tmp/try

A random Llama teacher (12 layers x 768 x 12 heads) and student (6 x 384 x 6), vocabulary 8,192, batches of 4 x 512
tokens of which half are trained on. A step is the teacher's answer, the student's forward and backward pass, and AdamW.
Live and cached steps are interleaved in one process; the median after one warm-up. The error of a stored precision is
the distance of the student's gradient from that with the live teacher, over its norm.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from stillroom.core.batch import Batch
from stillroom.core.objective import Objective
from stillroom.core.signals import Request
from stillroom.data.collate import Collator
from stillroom.objectives import find
from stillroom.taps.prepare import prepare
from stillroom.taps.shape import model_shape
from stillroom.teachers.cached import CachedTeacher
from stillroom.teachers.live import LiveTeacher
from stillroom.teachers.store.reader import Store
from stillroom.teachers.store.writer import Ask, Plan, fill, locked, missing, open_plan
from stillroom.teachers.teacher import Teacher
from stillroom.training.pair import Pair

VOCAB = 8192
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "SHARP, pooled attention": ("attention.sharp", {}),
    "forward KL, final hidden + head": ("logits.forward_kl", {}),
    "forward KL, top 64": ("logits.forward_kl", {"top_k": 64}),
}
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


class RandomText(list[dict[str, Any]]):
    """Samples of one length, half of it prompt."""

    def __init__(self, size: int, length: int) -> None:
        generator = torch.Generator().manual_seed(0)
        for index in range(size):
            ids = torch.randint(VOCAB, (length,), generator=generator)
            mask = torch.arange(length) >= length // 2
            self.append({"input_ids": ids, "response_mask": mask, "sample_ids": index})
        self.lengths = [length] * size


def llama(layers: int, width: int, heads: int, length: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=length, initializer_range=0.05,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class Trial:
    """One method with a live teacher, and caches of it in any precision."""

    def __init__(self, name: str, teacher: LiveTeacher, options: argparse.Namespace) -> None:
        use, settings = METHODS[name]
        self.objective: Objective = find(use)(**settings)
        self.options, self.live = options, teacher
        self.text = RandomText(options.samples, options.length)
        student = llama(max(options.layers // 2, 1), 384, 6, options.length, seed=1)
        torch.manual_seed(2)
        shape = model_shape(student, VOCAB, "random")
        self.pair = Pair(student, {use: self.objective}, {use: 1.0}, shape, teacher.shape)
        prepare(student, self.pair.student_requests)
        teacher.prepare(self.pair.teacher_requests)
        self.optimizer = torch.optim.AdamW(self.pair.parameters(), lr=1e-5)
        self.inputs = Collator(0)(self.text[: options.batch])

    @property
    def requests(self) -> tuple[Request, ...]:
        return self.pair.teacher_requests

    def write(self, folder: Path, precision: str) -> tuple[CachedTeacher, dict[str, float]]:
        plan = Plan(folder, {}, self.requests, self.text, precision)
        asked = Ask(self._answer, Collator(0), torch.device("cpu"), self.options.batch)
        with locked(folder):
            manifest = open_plan(plan)
            started = time.perf_counter()
            fill(plan, manifest, missing(plan, manifest), asked, lambda done, total, detail="": None)
            seconds = time.perf_counter() - started
        once = 0 if manifest.once is None else manifest.once.bytes
        facts = {
            "bytes_per_token": round((manifest.bytes - once) / manifest.tokens, 1),
            "bytes_once": once,
            "write_tokens_per_second": round(manifest.tokens / seconds, 1),
        }
        return CachedTeacher(Store(folder), self.live.shape), facts

    def _answer(self, batch: Batch) -> Any:
        return self.live.answer(batch, self.requests)

    def step(self, teacher: Teacher) -> float:
        """Seconds of one training step."""
        started = time.perf_counter()
        self.loss(teacher).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - started

    def loss(self, teacher: Teacher) -> Tensor:
        batch = Batch.from_inputs(self.inputs)
        totals = self.pair(self.inputs, teacher.answer(batch, self.requests))
        counts = self.pair.counts(batch)
        return torch.stack([total / counts[key].clamp(min=1) for key, total in totals.items()]).sum()

    def gradient(self, teacher: Teacher) -> Tensor:
        weights = [each for each in self.pair.student.parameters() if each.requires_grad]
        grads = torch.autograd.grad(self.loss(teacher), weights, allow_unused=True, materialize_grads=True)
        return torch.cat([each.flatten() for each in grads])


def measure(name: str, teacher: LiveTeacher, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    trial = Trial(name, teacher, options)
    caches, sizes = {}, {}
    for precision in PRECISIONS:
        caches[precision], sizes[precision] = trial.write(folder / precision, precision)
    true = trial.gradient(teacher)
    errors = {p: float((trial.gradient(each) - true).norm() / true.norm()) for p, each in caches.items()}
    contenders: dict[str, Callable[[], float]] = {
        "live": lambda: trial.step(teacher),
        "cached": lambda: trial.step(caches["auto"]),
    }
    times: dict[str, list[float]] = {each: [] for each in contenders}
    for repeat in range(options.repeats + 1):
        for each, contender in contenders.items():
            seconds = contender()
            if repeat:
                times[each].append(seconds)
    return {
        "objective": METHODS[name],
        "stored": sizes,
        "gradient_error": errors,
        "step_seconds": {each: statistics.median(found) for each, found in times.items()},
        "step_seconds_all": times,
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    teacher = LiveTeacher(
        llama(options.layers, 768, 12, options.length, seed=0), vocab_size=VOCAB, vocabulary="random"
    )
    rows = {}
    for name in METHODS:
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measure(name, teacher, options, Path(folder))
        print(row(name, rows[name]), flush=True)
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": f"CPU ({processor()}), {torch.get_num_threads()} threads",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "sizes": {
            "teacher": f"{options.layers} x 768 x 12",
            "student": f"{max(options.layers // 2, 1)} x 384 x 6",
            "vocabulary": VOCAB,
            "batch": options.batch,
            "length": options.length,
            "samples": options.samples,
            "dtype": "float32",
        },
        "results": rows,
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = (line.split(":")[1].strip() for line in lines if "model name" in line)
    return next(named, platform.processor())


def row(name: str, found: dict[str, Any]) -> str:
    seconds, auto = found["step_seconds"], found["stored"]["auto"]
    return (
        f"| {name} | {auto['bytes_per_token']:,.0f} | {auto['bytes_once'] / 1e6:.1f} | {seconds['live']:.2f} "
        f"| {seconds['cached']:.2f} | {seconds['cached'] / seconds['live']:.2f} "
        f"| {auto['write_tokens_per_second']:,.0f} |"
    )


def page(result: dict[str, Any]) -> str:
    sizes, rows = result["sizes"], result["results"]
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# Teacher statistics, live and from a cache",
        "",
        f"Teacher {sizes['teacher']}, student {sizes['student']}, vocabulary {sizes['vocabulary']:,}, "
        f"B={sizes['batch']}, S={sizes['length']}, half of it trained on, {sizes['dtype']}. {result['device']}. "
        f"{known}.",
        "",
        f"`{result['command']}`",
        "",
        "| what the objective reads | bytes a token | MB once | step, live (s) | step, cached (s) | ratio "
        "| written, tokens/s |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(row(name, found) for name, found in rows.items()),
        "",
        "Relative error of the student's gradient, and bytes a token, by stored precision:",
        "",
        f"| what the objective reads | {' | '.join(PRECISIONS)} |",
        f"|---|{'---:|' * len(PRECISIONS)}",
    ]
    for name, found in rows.items():
        cells = [
            f"{found['gradient_error'][p]:.1e} ({found['stored'][p]['bytes_per_token']:,.0f} B)"
            for p in PRECISIONS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--samples", type=int, default=8, help="samples that are cached")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    result = run(options)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "teacher_cache_cpu.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.output / "teacher_cache_cpu.md").write_text(page(result))


if __name__ == "__main__":
    main()
