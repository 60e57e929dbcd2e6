"""Squeezing heads, one layer: shares and map divergence without maps, beside maps in memory; time, memory, error.

    python benchmarks/squeezed_attention.py                     # the sizes below, into benchmarks/results/
    python benchmarks/squeezed_attention.py --lengths 128 --memory-lengths 128 --repeats 2 --output /tmp/try
    python benchmarks/squeezed_attention.py --device cuda --dtype bfloat16 --lengths 512 2048 8192

All heads of a layer, two teacher heads to each of the student's: `squeeze_weights` (nothing to differentiate),
`squeezed_kl` forward and backward to the student's queries and keys, and both together, which is what a layer of
`attention.squeeze_heads` costs. "Eager" is the softmax of QK^T of both models in memory, made once for shares and
divergence; of a pair (A_1 - A_2) meets the narrow values before the output slices, so that route is as lean as maps
in memory allow. "Plain" is the package's own definition. Measuring is explained in `measure.py`; longer texts are
repeated less often, five times at least. Errors are distances to float64 over its norm.
"""

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import torch
from measure import CLOCKS, machine, numbers_from_fresh_process, peak_growth, save, times, versions
from received_attention import distances, named, numbers, repeats, table
from torch import Tensor

from stillroom.kernels.squeeze_weights import narrow_projection, squeeze_weights
from stillroom.kernels.squeezed_kl import squeezed_kl


@dataclass(frozen=True)
class Inputs:
    """Random queries, keys and values of a student and its teacher, as transformers hands them over."""

    query: Tensor
    key: Tensor
    teacher_query: Tensor
    teacher_key: Tensor
    teacher_value: Tensor
    out_proj: Tensor
    """As narrow as a group, which an objective does once and not in every step."""
    mix: Tensor
    weights: Tensor
    slope: Tensor

    @classmethod
    def random(cls, length: int, options: argparse.Namespace, merged: int = 2, reads: int = 1) -> "Inputs":
        """`merged` teacher heads to one of the student's; in both models `reads` query heads to a key head."""
        torch.manual_seed(0)
        settings = {"device": options.device, "dtype": getattr(torch, options.dtype)}
        batch, heads, width = options.batch, options.heads, options.width
        theirs = heads * merged

        def per_head(count: int) -> Tensor:
            return torch.randn(batch, length, count, width, **settings).transpose(1, 2)

        query, key = (per_head(count).requires_grad_() for count in (heads, heads // reads))
        teacher = per_head(theirs), per_head(theirs // reads), per_head(theirs // reads)
        out_proj = torch.randn(theirs, width, theirs * width, **settings) * (theirs * width) ** -0.5
        mix = torch.rand(batch, heads, merged, device=options.device)
        weights = torch.full((batch, length), 1 / length, device=options.device)
        slope = torch.randn(batch, heads, device=options.device)
        narrow = narrow_projection(out_proj, groups(heads, merged))
        return cls(query, key, *teacher, narrow, mix / mix.sum(2, keepdim=True), weights, slope)

    @property
    def groups(self) -> list[list[int]]:
        return groups(self.query.shape[1], self.mix.shape[2])

    @property
    def scaling(self) -> float:
        return self.query.shape[3] ** -0.5

    def double(self) -> "Inputs":
        tensors = (getattr(self, each.name) for each in fields(self))
        return Inputs(*(t.detach().double().requires_grad_(t.requires_grad) for t in tensors))

    def forget(self) -> None:
        self.query.grad = self.key.grad = None


def groups(heads: int, merged: int) -> list[list[int]]:
    return [list(range(merged * head, merged * (head + 1))) for head in range(heads)]


# --- without maps -------------------------------------------------------------------------------------------------


def shares(x: Inputs, **settings) -> Tensor:
    found = squeeze_weights(
        x.teacher_query, x.teacher_key, x.teacher_value, x.out_proj,
        groups=x.groups, scaling=x.scaling, weights=x.weights, **settings,
    )  # fmt: skip
    return found.mix


def divergence(x: Inputs, mix: Tensor, **settings) -> Tensor:
    """`[B,H]`."""
    return squeezed_kl(
        x.query, x.key, x.teacher_query, x.teacher_key, mix, groups=x.groups, student_scaling=x.scaling,
        teacher_scaling=x.scaling, weights=x.weights, **settings,
    )  # fmt: skip


# --- with maps in memory ------------------------------------------------------------------------------------------


def maps(query: Tensor, key: Tensor, scaling: float, log: bool = False) -> Tensor:
    """`[B,H,S,S]`, or its logarithm with a finite number for what is not seen."""
    length = query.shape[2]
    future = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = (query @ key.transpose(2, 3)).float() * scaling
    if log:
        return scores.masked_fill(future, torch.finfo(torch.float32).min).log_softmax(-1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


@torch.no_grad()
def teacher_maps(x: Inputs) -> Tensor:
    """Of the first heads of all pairs, then of the second ones, `[B,2,H,S,S]`."""
    found = maps(x.teacher_query, x.teacher_key, x.scaling)
    return found.unflatten(1, (-1, 2)).transpose(1, 2)


@torch.no_grad()
def eager_shares(x: Inputs, teacher: Tensor) -> Tensor:
    """Of every pair alpha and what is left, `[B,H,2]`: alpha = 1/2 + (|x|^2 - |y|^2) / (2 |x + y|^2)."""
    both = (
        x.teacher_value.float().unflatten(1, (-1, 2)).transpose(1, 2),
        x.out_proj.float().unflatten(0, (-1, 2)),
    )
    difference = teacher[:, 0] - teacher[:, 1]
    first, second = (
        torch.einsum("bhse,her->bhsr", difference @ both[0][:, at], both[1][:, at]) for at in (0, 1)
    )
    rows = x.weights[:, None, :, None]
    square, other, whole = (
        (each.square() * rows).sum((2, 3)).double() for each in (first, second, first + second)
    )
    alpha = (0.5 + (square - other) / (2 * whole)).clamp(0, 1)
    return torch.stack([alpha, 1 - alpha], dim=2).float()


def eager_divergence(x: Inputs, teacher: Tensor, mix: Tensor, of: str) -> Tensor:
    with torch.no_grad():
        merged = (teacher * mix.mT[..., None, None]).sum(1)
    if of == "kl":
        ours = maps(x.query, x.key, x.scaling, log=True)
        rows = torch.nn.functional.kl_div(ours, merged, reduction="none").sum(-1)
    else:
        rows = (maps(x.query, x.key, x.scaling) - merged).square().mean(-1)
    return (rows * x.weights[:, None]).sum(2)


# --- who is measured ----------------------------------------------------------------------------------------------

WEIGHTS, KL, MSE, LAYER = "shares", "KL", "MSE", "shares and KL"
TASKS = (WEIGHTS, KL, MSE, LAYER)
SQUEEZED, PLAIN, EAGER = "squeezed", "plain", "eager"
Task = Callable[[Inputs], Tensor]
"""The result: shares `[B,H,k]` or values `[B,H]`."""


def squeezed(task: str, x: Inputs, **settings) -> Tensor:
    if task == WEIGHTS:
        return shares(x, **settings)
    mix = shares(x, **settings) if task == LAYER else x.mix
    return divergence(x, mix, divergence="mse" if task == MSE else "kl", **settings)


def eager(task: str, x: Inputs) -> Tensor:
    teacher = teacher_maps(x)
    if task == WEIGHTS:
        return eager_shares(x, teacher)
    mix = eager_shares(x, teacher) if task == LAYER else x.mix
    return eager_divergence(x, teacher, mix, "mse" if task == MSE else "kl")


ROUTES: dict[str, Callable[[str, Inputs], Tensor]] = {
    SQUEEZED: squeezed,
    PLAIN: partial(squeezed, impl="plain"),
    EAGER: eager,
}
CONTENDERS: dict[str, Task] = {
    f"{route}, {task}": partial(of, task) for task in TASKS for route, of in ROUTES.items()
}


def step(contender: Task, inputs: Inputs) -> None:
    inputs.forget()
    found = contender(inputs)
    if found.requires_grad:
        found.backward(inputs.slope)


def longest(name: str, options: argparse.Namespace) -> float:
    """Up to which length a contender runs: maps of a long text fill the memory."""
    route = name.split(",")[0]
    return {PLAIN: options.longest_plain, EAGER: options.longest_eager}.get(route, float("inf"))


# --- what is measured ---------------------------------------------------------------------------------------------


def side_by_side(length: int, options: argparse.Namespace) -> dict:
    """Seconds of every contender at one length."""
    inputs = Inputs.random(length, options)
    steps = {
        name: partial(step, contender, inputs)
        for name, contender in CONTENDERS.items()
        if length <= longest(name, options)
    }
    rows = {}
    for name, seconds in times(steps, repeats(length, options), options.device, options.clock).items():
        rows[name] = {"seconds": statistics.median(seconds), "fastest": min(seconds), "seconds_all": seconds}
        print(f"{length:6d} {name:28s} {rows[name]['seconds'] * 1e3:9.1f} ms", flush=True)
    return rows


def memory(options: argparse.Namespace) -> dict:
    """Peak growth by contender and length: a fresh process for each contender, which goes from short to long texts."""
    found: dict[str, dict[str, int]] = {}
    for name in (f"{route}, {task}" for task in (MSE, LAYER) for route in ROUTES):
        lengths = [s for s in sorted(options.memory_lengths) if s <= longest(name, options)]
        if lengths:
            arguments = [*same(options), "--memory-of", name, "--memory-lengths", *map(str, lengths)]
            growths = numbers_from_fresh_process(__file__, arguments)
            found[name] = {str(s): growth for s, growth in zip(lengths, growths, strict=True)}
            print(name, found[name], flush=True)
    return found


def print_memory(options: argparse.Namespace) -> None:
    growths = []
    for length in options.memory_lengths:
        inputs = Inputs.random(length, options)
        whole = partial(step, CONTENDERS[options.memory_of], inputs)
        growths.append(peak_growth(whole, inputs.forget, options.device))
    print(*growths)


def variants(length: int, options: argparse.Namespace) -> dict:
    """Fastest seconds of shares and of KL, by setting; what a setting does not touch is left out."""
    pairs, triples = Inputs.random(length, options), Inputs.random(length, options, merged=3)
    real = torch.arange(length, device=options.device).expand(options.batch, -1) >= length // 2
    padded = replace(pairs, weights=pairs.weights * real)
    halves = argparse.Namespace(**vars(options) | {"dtype": "bfloat16"})
    one_of: dict[str, tuple[Inputs, dict | None, dict | None]] = {
        "pairs": (pairs, {}, {}),
        "triples": (triples, {}, {}),
        "triples, one after the other": (triples, {"method": "sequential"}, None),
        "four query heads to a key head": (Inputs.random(length, options, reads=4), {}, {}),
        "a quarter of the rows": (pairs, None, {"row_fraction": 1 / 4}),
        "soft-capped": (pairs, {"softcap": 50.0}, {"student_softcap": 50.0, "teacher_softcap": 50.0}),
        "bfloat16": (Inputs.random(length, halves), {}, {}),
        "left half is padding": (padded, {"key_mask": real}, {"key_mask": real}),
    }
    steps = {}
    for name, (inputs, of_shares, of_kl) in one_of.items():
        if of_shares is not None:
            steps[name, WEIGHTS] = partial(step, partial(shares, **of_shares), inputs)
        if of_kl is not None:
            steps[name, KL] = partial(step, partial(divergence, mix=inputs.mix, **of_kl), inputs)
    found: dict[str, dict[str, float]] = {}
    measured = times(steps, max(3, repeats(length, options) // 2), options.device, options.clock)
    for (name, task), seconds in measured.items():
        found.setdefault(name, {})[task] = min(seconds)
    return found


def values(x: Inputs, task: str, impl: str) -> dict[str, Tensor]:
    """Of shares themselves; of a divergence what it is and the gradients of queries and keys; in float64."""
    found = squeezed(task, x, impl=impl)
    if task == WEIGHTS:
        return named((WEIGHTS,), (found,))
    gradients = torch.autograd.grad(found, (x.query, x.key), x.slope.to(found.dtype))
    return named(("value", "d query", "d key"), (found, *gradients))


def errors(options: argparse.Namespace) -> dict:
    """Errors of the engines against plain float64, at the first length."""
    rows = {}
    for dtype in ("float32", "bfloat16"):
        x = Inputs.random(options.lengths[0], argparse.Namespace(**vars(options) | {"dtype": dtype}))
        exact = x.double()
        for task in (WEIGHTS, KL, MSE):
            truth = values(exact, task, "plain")
            for impl in ("plain", "auto"):
                rows[f"{task}, {dtype}, {impl}"] = distances(values(x, task, impl), truth)
        rows[f"{WEIGHTS}, {dtype}, eager"] = distances(
            named((WEIGHTS,), (eager(WEIGHTS, x),)), values(exact, WEIGHTS, "plain")
        )
    return rows


def same(options: argparse.Namespace) -> list[str]:
    """The options that a fresh process must share."""
    names = ("batch", "heads", "width", "threads", "device", "dtype", "longest_eager")
    return [word for name in names for word in (f"--{name.replace('_', '-')}", str(getattr(options, name)))]


def run(options: argparse.Namespace) -> dict:
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(options.device),
        "clock": options.clock,
        "versions": versions("torch", "triton"),
        "sizes": {name: getattr(options, name) for name in ("batch", "heads", "width", "dtype")},
        "side_by_side": {str(length): side_by_side(length, options) for length in options.lengths},
        "variants": {str(length): variants(length, options) for length in options.variant_lengths},
        "errors": errors(options),
        "memory": memory(options),
    }


# --- the page -----------------------------------------------------------------------------------------------------


def page(result: dict) -> str:
    sizes, known = result["sizes"], ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    heads = sizes["heads"]
    lines = [
        "# Squeezing heads without maps, one layer",
        "",
        f"B={sizes['batch']}, {2 * heads} teacher heads to {heads} of the student, d={sizes['width']}, "
        f"{sizes['dtype']}, causal. KL, MSE and the two together forward and backward.",
        "",
        f"{result['device']}, {result['clock']} clock. {known}.",
        "",
        f"`{result['command']}`",
        "",
        "Milliseconds, median (fastest), and as a share of eager:",
    ]
    for length, rows in result["side_by_side"].items():
        lines += table([f"S={length}", *ROUTES, "of eager, median", "of eager, fastest"], time_rows(rows))
    lines += ["Growth of peak memory in MB, gradients included:"]
    grown = result["memory"]
    lengths = list(next(iter(grown.values()), {}))
    lines += table(
        ["", *(f"S={s}" for s in lengths)],
        [[name, *(megabytes_at(row.get(s)) for s in lengths)] for name, row in grown.items()],
    )
    lines += ["What settings cost, milliseconds, fastest:"]
    some = result["variants"]
    lines += table(
        ["", *(f"{task}, S={s}" for task in (WEIGHTS, KL) for s in some)],
        [
            [name, *(one_time(each[name].get(task)) for task in (WEIGHTS, KL) for each in some.values())]
            for name in next(iter(some.values()), {})
        ],
    )
    lines += ["Error, relative to float64:"]
    lines += numbers(result["errors"], "{:.1e}")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def time_rows(rows: dict[str, dict]) -> list[list[str]]:
    found = []
    for task in TASKS:
        by_route = {route: rows.get(f"{route}, {task}") for route in ROUTES}
        ours, theirs = by_route[SQUEEZED], by_route[EAGER]
        shares_of = (
            ["", ""] if theirs is None else [f"{ours[k] / theirs[k]:.2f}" for k in ("seconds", "fastest")]
        )
        found.append([task, *(both_times(row) for row in by_route.values()), *shares_of])
    return found


def both_times(row: dict | None) -> str:
    return "" if row is None else f"{row['seconds'] * 1e3:.0f} ({row['fastest'] * 1e3:.0f})"


def one_time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e3:.1f}"


def megabytes_at(growth: int | None) -> str:
    return "" if growth is None else f"{growth / 1e6:.0f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {"batch": 2, "heads": 8, "width": 64, "repeats": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--variant-lengths", type=int, nargs="*", default=[512, 2048])
    parser.add_argument("--memory-lengths", type=int, nargs="*", default=[512, 1024, 2048, 4096])
    for route, most in {PLAIN: 1024, EAGER: 2048}.items():
        parser.add_argument(f"--longest-{route}", type=int, default=most, help="texts with maps in memory")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory-of", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore")  # of the libraries
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print_memory(options)
        return
    result = run(options)
    save(result, page(result), options.output, f"squeezed_attention_{options.device.split(':')[0]}")
    print("\n" + page(result))


if __name__ == "__main__":
    main()
