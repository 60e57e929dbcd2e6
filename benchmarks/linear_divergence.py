"""Time, memory and error of head + divergence + backward, against plain PyTorch, TRL and Liger Kernel.

    python benchmarks/linear_divergence.py                       # the sizes below, into benchmarks/results/
    python benchmarks/linear_divergence.py --rows 512 --repeats 3 --output /tmp/try

Time (median) and memory are measured as `measure.py` says. Error: distance to float64 over its norm, for the loss
and both gradients.
"""

import argparse
import json
import os
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from measure import in_fresh_process, machine, peak_growth, times, versions
from torch import Tensor
from torch.nn import functional as F

from stillroom.kernels.linear_divergence import linear_divergence
from stillroom.numerics.divergence import DIVERGENCES


@dataclass(frozen=True)
class Sizes:
    rows: int = 2048
    vocab: int = 32000
    student_width: int = 512
    teacher_width: int = 768


@dataclass(frozen=True)
class Inputs:
    """Random models whose logits have a standard deviation near 2, as trained heads have."""

    hidden: Tensor
    head: Tensor
    teacher_hidden: Tensor
    teacher_head: Tensor

    @classmethod
    def random(cls, sizes: Sizes) -> "Inputs":
        torch.manual_seed(0)
        hidden = torch.randn(sizes.rows, sizes.student_width)
        teacher_hidden = torch.randn(sizes.rows, sizes.teacher_width)
        head = torch.randn(sizes.vocab, sizes.student_width) * 2 / sizes.student_width**0.5
        teacher_head = torch.randn(sizes.vocab, sizes.teacher_width) * 2 / sizes.teacher_width**0.5
        return cls(hidden.requires_grad_(), head.requires_grad_(), teacher_hidden, teacher_head)


Contender = Callable[[Inputs], Tensor]
"""Sum of the divergence over rows, ready for backward."""


def streaming(divergence: str) -> Contender:
    def run(x: Inputs) -> Tensor:
        return linear_divergence(
            x.hidden, x.head, x.teacher_hidden, x.teacher_head, divergence=divergence, impl="streaming"
        )

    return run


def dense(divergence: str) -> Contender:
    def run(x: Inputs) -> Tensor:
        return linear_divergence(
            x.hidden, x.head, x.teacher_hidden, x.teacher_head, divergence=divergence, impl="plain"
        )

    return run


def dense_pytorch() -> Contender:
    """The three lines that everybody writes."""

    def run(x: Inputs) -> Tensor:
        with torch.no_grad():
            log_p = F.log_softmax(x.teacher_hidden @ x.teacher_head.T, dim=-1)
        return F.kl_div(F.log_softmax(x.hidden @ x.head.T, dim=-1), log_p, reduction="sum", log_target=True)

    return run


def trl_dense() -> Contender:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from trl.experimental.gkd import GKDTrainer

    def run(x: Inputs) -> Tensor:
        with torch.no_grad():
            teacher = x.teacher_hidden @ x.teacher_head.T
        return GKDTrainer.generalized_jsd_loss(x.hidden @ x.head.T, teacher, beta=0.0, reduction="sum")

    return run


def trl_chunked() -> Contender:
    from trl.trainer.distillation_trainer import _chunked_divergence_loss

    def run(x: Inputs) -> Tensor:
        mask = torch.ones(1, len(x.hidden))
        loss, _, _ = _chunked_divergence_loss(
            x.hidden[None],
            x.teacher_hidden[None],
            x.head,
            x.teacher_head,
            mask,
            beta=0.0,
            num_items_in_batch=1,
        )
        return loss

    return run


def liger(compiled: bool) -> Contender:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, compiled=compiled)

    def run(x: Inputs) -> Tensor:
        labels = torch.zeros(len(x.hidden), dtype=torch.long)
        return loss(x.hidden, x.head, x.teacher_hidden, x.teacher_head, labels) * len(x.hidden)

    return run


OURS, DENSE = "stillroom streaming", "PyTorch, dense"
FORWARD_KL: dict[str, Callable[[], Contender]] = {
    OURS: lambda: streaming("forward_kl"),
    DENSE: dense_pytorch,
    "TRL generalized_jsd_loss, dense": trl_dense,
    "TRL chunked divergence": trl_chunked,
    "Liger chunked JSD, compiled": lambda: liger(compiled=True),
    "Liger chunked JSD, eager": lambda: liger(compiled=False),
}
"""Forward KL; everyone computes the same number."""

CATALOG: dict[str, Callable[[], Contender]] = {
    f"{engine}: {name}": (lambda make=make, name=name: make(name))
    for name in DIVERGENCES
    for engine, make in (("streaming", streaming), ("plain", dense))
}
CONTENDERS = FORWARD_KL | CATALOG


def step(contender: Contender, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and both gradients, as one training step needs them."""
    inputs.hidden.grad = inputs.head.grad = None
    loss = contender(inputs)
    loss.backward()
    assert inputs.hidden.grad is not None
    assert inputs.head.grad is not None
    return loss.detach(), inputs.hidden.grad, inputs.head.grad


def measure_memory(name: str, sizes: Sizes) -> int:
    """Bytes by which one step raises the peak of this process, gradients included."""
    contender, inputs = CONTENDERS[name](), Inputs.random(sizes)

    def forget() -> None:
        inputs.hidden.grad = inputs.head.grad = None

    return peak_growth(lambda: step(contender, inputs), forget)


def memory_in_fresh_process(name: str, arguments: argparse.Namespace) -> int:
    command = ["--memory-of", name, "--threads", str(arguments.threads)]
    for size, value in asdict(sizes_of(arguments)).items():
        command += ["--" + size.replace("_", "-"), str(value)]
    return in_fresh_process(__file__, command)


def in_float64(divergence: str, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """The truth, 128 rows at a time."""
    exact = Inputs(*(tensor.detach().double() for tensor in vars(inputs).values()))
    loss, head_gradient, hidden_gradients = (
        torch.zeros((), dtype=torch.float64),
        torch.zeros_like(exact.head),
        [],
    )
    for start in range(0, len(exact.hidden), 128):
        rows = slice(start, start + 128)
        part = Inputs(
            exact.hidden[rows].requires_grad_(),
            exact.head.requires_grad_(),
            exact.teacher_hidden[rows],
            exact.teacher_head,
        )
        value = dense(divergence)(part)
        gradients = torch.autograd.grad(value, (part.hidden, part.head))
        loss += value.detach()
        head_gradient += gradients[1]
        hidden_gradients.append(gradients[0])
    return loss, torch.cat(hidden_gradients), head_gradient


def errors(contender: Contender, inputs: Inputs, truth: tuple[Tensor, Tensor, Tensor]) -> list[float]:
    found = step(contender, inputs)
    return [float((a.double() - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True)]


def available(makers: dict[str, Callable[[], Contender]], sizes: Sizes) -> dict[str, Contender]:
    """The contenders that are installed and work here; one printed line for each other."""
    tiny, working = Inputs.random(Sizes(8, 64, sizes.student_width, sizes.teacher_width)), {}
    for name, make in makers.items():
        try:
            contender = make()
            step(contender, tiny)
            working[name] = contender
        except Exception as error:
            print(f"skipped {name}: {type(error).__name__}: {str(error).splitlines()[0]}")
    return working


def sizes_of(arguments: argparse.Namespace) -> Sizes:
    return Sizes(arguments.rows, arguments.vocab, arguments.student_width, arguments.teacher_width)


def run(arguments: argparse.Namespace) -> dict:
    sizes = sizes_of(arguments)
    inputs, rows = Inputs.random(sizes), {}
    truth_of, truth = "", None
    groups = [FORWARD_KL] if arguments.forward_kl_only else [FORWARD_KL, CATALOG]
    for makers in groups:
        working = available(makers, sizes)
        steps = {name: partial(step, contender, inputs) for name, contender in working.items()}
        seconds = times(steps, arguments.repeats)
        for name, contender in working.items():
            divergence = name.split(": ")[1] if makers is CATALOG else "forward_kl"
            if divergence != truth_of:
                truth_of, truth = divergence, in_float64(divergence, inputs)
            rows[name] = {
                "divergence": divergence,
                "seconds": statistics.median(seconds[name]),
                "seconds_all": seconds[name],
                "peak_growth_bytes": memory_in_fresh_process(name, arguments),
                "relative_error": dict(
                    zip(("loss", "hidden", "head"), errors(contender, inputs, truth), strict=True)
                ),
            }
            print(table_row(name, rows[name]))
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(),
        "versions": versions("torch", "trl", "liger-kernel"),
        "sizes": asdict(sizes) | {"dtype": "float32"},
        "results": rows,
    }


HEADER = """\
| what | seconds | peak growth, MB | error of loss | of d hidden | of d head |
|---|---:|---:|---:|---:|---:|"""


def table_row(name: str, row: dict) -> str:
    error = row["relative_error"]
    return (
        f"| {name} | {row['seconds']:.2f} | {row['peak_growth_bytes'] / 1e6:.0f} | {error['loss']:.1e} "
        f"| {error['hidden']:.1e} | {error['head']:.1e} |"
    )


def page(result: dict) -> str:
    results, sizes = result["results"], result["sizes"]
    shape = (
        f"N={sizes['rows']}, V={sizes['vocab']}, d={sizes['student_width']}, D={sizes['teacher_width']}, "
        f"{sizes['dtype']}"
    )
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    parts = ["# Head + divergence + backward, on a CPU", "", f"{shape}. {result['device']}. {known}.", ""]
    parts += [f"`{result['command']}`", "", "Forward KL, everybody's:", "", HEADER]
    parts += [table_row(name, results[name]) for name in FORWARD_KL if name in results]
    if any(name in results for name in CATALOG):
        parts += ["", "The catalog, without and with full logits:", "", HEADER]
        parts += [table_row(name, results[name]) for name in CATALOG if name in results]
    parts += ["", "Peak growth counts the gradients that are returned; errors are relative to float64."]
    return "\n".join(parts) + "\n"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in asdict(Sizes()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--forward-kl-only", action="store_true")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory-of", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore")  # of the other libraries
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(measure_memory(arguments.memory_of, sizes_of(arguments)))
        return
    result = run(arguments)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "linear_divergence_cpu.json").write_text(json.dumps(result, indent=2) + "\n")
    (arguments.output / "linear_divergence_cpu.md").write_text(page(result))
    print("\n" + page(result))


if __name__ == "__main__":
    main()
