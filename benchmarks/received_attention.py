"""Received attention: alone, beside SDPA, in one pass with attention, and pooled from eager maps; time, memory, error.

    python benchmarks/received_attention.py                     # the sizes below, into benchmarks/results/
    python benchmarks/received_attention.py --lengths 128 --repeats 2 --output /tmp/try
    python benchmarks/received_attention.py --device cuda --dtype bfloat16 --lengths 512 2048 8192

One layer, forward and backward to queries and keys (and values where there are any). "One pass" is what the taps run
on a CPU. "Eager" is the softmax of QK^T in memory, multiplied with the values and pooled over rows. Measuring is
explained in `measure.py`; longer texts are repeated less often, five times at least. Errors are distances to float64
over its norm, noise of a sample of rows that to all rows.
"""

import argparse
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from measure import machine, numbers_from_fresh_process, peak_growth, save, times, versions
from torch import Tensor
from torch.nn import functional as F

from stillroom.kernels.attention_and_received import attention_and_received
from stillroom.kernels.received_attention import received_attention


@dataclass(frozen=True)
class Inputs:
    """Random queries, keys and values, as transformers hands them over, and slopes of a loss."""

    query: Tensor
    key: Tensor
    value: Tensor
    weights: Tensor
    output_slope: Tensor
    received_slope: Tensor

    @classmethod
    def random(cls, length: int, options: argparse.Namespace, key_heads: int | None = None) -> "Inputs":
        torch.manual_seed(0)
        settings = {"device": options.device, "dtype": getattr(torch, options.dtype)}
        batch, heads, width = options.batch, options.heads, options.width

        def per_head(count: int) -> Tensor:
            return torch.randn(batch, length, count, width, **settings).transpose(1, 2).requires_grad_()

        query, key, value = per_head(heads), per_head(key_heads or heads), per_head(key_heads or heads)
        weights = torch.full((batch, length), 1 / length, device=options.device)
        slope = torch.randn(batch, heads, length, device=options.device)
        return cls(query, key, value, weights, torch.randn_like(query), slope)

    def forget(self) -> None:
        for tensor in (self.query, self.key, self.value):
            tensor.grad = None


Contender = Callable[[Inputs], Tensor]
"""A loss, ready for backward."""


def sdpa(x: Inputs) -> Tensor:
    output = F.scaled_dot_product_attention(x.query, x.key, x.value, is_causal=True)
    return (output * x.output_slope).sum()


def received(x: Inputs, **settings) -> Tensor:
    scaling = x.query.shape[-1] ** -0.5
    found = received_attention(x.query, x.key, scaling=scaling, weights=x.weights, **settings)
    return (found * x.received_slope).sum()


def sdpa_and_received(x: Inputs) -> Tensor:
    return sdpa(x) + received(x)


def one_pass(x: Inputs, **settings) -> Tensor:
    scaling = x.query.shape[-1] ** -0.5
    output, found = attention_and_received(
        x.query, x.key, x.value, scaling=scaling, weights=x.weights, **settings
    )
    return (output * x.output_slope).sum() + (found * x.received_slope).sum()


def eager(x: Inputs, pool: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    length = x.query.shape[2]
    future = torch.full((length, length), -torch.inf, dtype=x.query.dtype, device=x.query.device).triu(1)
    scores = x.query @ x.key.transpose(2, 3) * x.query.shape[-1] ** -0.5 + future
    attention = scores.softmax(dim=-1, dtype=torch.float32).to(x.query.dtype)
    output = attention @ x.value
    return (output * x.output_slope).sum() + (pool(attention, x.weights) * x.received_slope).sum()


def pooled_by_product(attention: Tensor, weights: Tensor) -> Tensor:
    return (weights.to(attention.dtype)[:, None, None, :] @ attention).squeeze(2)


def pooled_by_einsum(attention: Tensor, weights: Tensor) -> Tensor:
    return torch.einsum("bi,bhij->bhj", weights.to(attention.dtype), attention)


FLASH, ALONE, BESIDE = "SDPA", "received attention", "SDPA + received attention"
ONE_PASS = "attention and received attention, one pass"
EAGER = {
    "eager, pooled by a matrix product": pooled_by_product,
    "eager, pooled by einsum": pooled_by_einsum,
}
CONTENDERS: dict[str, Contender] = {
    FLASH: sdpa,
    ALONE: received,
    BESIDE: sdpa_and_received,
    ONE_PASS: one_pass,
} | {name: partial(eager, pool=pool) for name, pool in EAGER.items()}
VARIANTS: dict[str, dict] = {
    "all rows": {},
    "a quarter of the rows": {"row_fraction": 1 / 4},
    "an eighth of the rows": {"row_fraction": 1 / 8},
    "window of 256": {"window": 256},
    "soft-capped": {"softcap": 50.0},
}


def step(contender: Contender, inputs: Inputs) -> None:
    inputs.forget()
    contender(inputs).backward()


def forward_only(contender: Contender, inputs: Inputs) -> None:
    with torch.no_grad():
        contender(inputs)


def contenders(length: int, options: argparse.Namespace) -> list[str]:
    """Those that run at this length: no map of a long text, and no blocks of PyTorch where the device has kernels."""
    left_out = set(EAGER) if length > options.longest_eager else set()
    left_out |= {ONE_PASS} if options.device != "cpu" else set()
    return [name for name in CONTENDERS if name not in left_out]


def repeats(length: int, options: argparse.Namespace) -> int:
    return min(options.repeats, max(5, options.repeats * 512 // length))


def side_by_side(length: int, options: argparse.Namespace) -> dict:
    """Seconds of every contender at one length."""
    inputs = Inputs.random(length, options)
    steps = {name: partial(step, CONTENDERS[name], inputs) for name in contenders(length, options)}
    rows = {}
    for name, seconds in times(steps, repeats(length, options), options.device).items():
        rows[name] = {"seconds": statistics.median(seconds), "fastest": min(seconds), "seconds_all": seconds}
        print(f"{length:6d} {name:44s} {rows[name]['seconds'] * 1e3:9.1f} ms", flush=True)
    return rows


def add_memory(found: dict[str, dict], options: argparse.Namespace) -> None:
    """Peak growth, beside the seconds: a fresh process for each contender, which goes from short to long texts."""
    for name in CONTENDERS:
        lengths = [length for length in sorted(options.lengths) if name in found[str(length)]]
        if lengths:
            arguments = [*same(options), "--memory-of", name, "--lengths", *map(str, lengths)]
            growths = numbers_from_fresh_process(__file__, arguments)
            for length, growth in zip(lengths, growths, strict=True):
                found[str(length)][name]["peak_growth_bytes"] = growth


def print_memory(options: argparse.Namespace) -> None:
    growths = []
    for length in options.lengths:
        inputs = Inputs.random(length, options)
        whole = partial(step, CONTENDERS[options.memory_of], inputs)
        growths.append(peak_growth(whole, inputs.forget, options.device))
    print(*growths)


def variants(length: int, options: argparse.Namespace) -> dict:
    """What settings, precision and shared key heads cost, of received attention alone and of the one pass."""
    cases: dict[str, tuple[Inputs, dict]] = {
        name: (Inputs.random(length, options), settings) for name, settings in VARIANTS.items()
    }
    cases["two key heads"] = Inputs.random(length, options, key_heads=2), {}
    halves = argparse.Namespace(**vars(options) | {"dtype": "bfloat16"})
    cases["bfloat16"] = Inputs.random(length, halves), {}
    padded = Inputs.random(length, options)
    mask = torch.arange(length, device=options.device).expand_as(padded.weights) >= length // 2
    cases["left half is padding"] = replace(padded, weights=padded.weights * mask * 2), {"key_mask": mask}
    trials = {(ALONE, name): (partial(received, **settings), x) for name, (x, settings) in cases.items()}
    if options.device == "cpu":
        trials |= {
            (ONE_PASS, name): (partial(one_pass, **settings), x)
            for name, (x, settings) in cases.items()
            if "row_fraction" not in settings
        }
    found: dict[str, dict] = {ALONE: {}, ONE_PASS: {}}
    for column, run_one in (("seconds", step), ("forward_seconds", forward_only)):
        steps = {f"{who}|{name}": partial(run_one, *trial) for (who, name), trial in trials.items()}
        for key, seconds in times(steps, max(3, repeats(length, options) // 2), options.device).items():
            who, name = key.split("|")
            found[who].setdefault(name, {})[column] = min(seconds)
    return found


def values(x: Inputs, **settings) -> dict[str, Tensor]:
    """What is received and the gradients of queries and keys, in float64."""
    found = received_attention(
        x.query, x.key, scaling=x.query.shape[-1] ** -0.5, weights=x.weights, **settings
    )
    gradients = torch.autograd.grad(found, (x.query, x.key), x.received_slope.to(found.dtype))
    return named(("received", "d query", "d key"), (found, *gradients))


def values_of_one_pass(x: Inputs, **settings) -> dict[str, Tensor]:
    """Both outputs and all gradients, in float64."""
    outputs = attention_and_received(
        x.query, x.key, x.value, scaling=x.query.shape[-1] ** -0.5, weights=x.weights, **settings
    )
    slopes = x.output_slope.to(outputs[0].dtype), x.received_slope.to(outputs[1].dtype)
    gradients = torch.autograd.grad(outputs, (x.query, x.key, x.value), slopes)
    return named(("output", "received", "d query", "d key", "d value"), (*outputs, *gradients))


def named(names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {name: tensor.detach().double() for name, tensor in zip(names, tensors, strict=True)}


def distances(found: dict[str, Tensor], truth: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((found[name] - truth[name]).norm() / truth[name].norm()) for name in truth}


def errors(options: argparse.Namespace) -> dict:
    """Errors of the engines against plain float64, at the first length."""
    rows = {}
    measured = {ALONE: values} | ({ONE_PASS: values_of_one_pass} if options.device == "cpu" else {})
    for dtype in ("float32", "bfloat16"):
        x = Inputs.random(options.lengths[0], argparse.Namespace(**vars(options) | {"dtype": dtype}))
        exact = Inputs(*(t.detach().double().requires_grad_(t.requires_grad) for t in vars(x).values()))
        for name, of in measured.items():
            truth = of(exact, impl="plain")
            for impl in ("plain", "auto"):
                rows[f"{name}, {dtype}, {impl}"] = distances(of(x, impl=impl), truth)
    return rows


def noise(length: int, options: argparse.Namespace) -> dict:
    x = Inputs.random(length, options)
    exact, rows = values(x), {}
    for name in ("a quarter of the rows", "an eighth of the rows"):
        draws = [distances(values(x, **VARIANTS[name]), exact) for _ in range(4)]
        rows[name] = {key: statistics.fmean(draw[key] for draw in draws) for key in draws[0]}
    return rows


def same(options: argparse.Namespace) -> list[str]:
    """The options that a fresh process must share."""
    names = ("batch", "heads", "width", "threads", "device", "dtype")
    return [word for name in names for word in (f"--{name}", str(getattr(options, name)))]


def run(options: argparse.Namespace) -> dict:
    found = {str(length): side_by_side(length, options) for length in options.lengths}
    add_memory(found, options)
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(options.device),
        "versions": versions("torch", "triton"),
        "sizes": {name: getattr(options, name) for name in ("batch", "heads", "width", "dtype")},
        "side_by_side": found,
        "variants": {str(length): variants(length, options) for length in options.variant_lengths},
        "noise": {str(length): noise(length, options) for length in options.variant_lengths},
        "errors": errors(options),
    }


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    ruled = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["", *("| " + " | ".join(row) + " |" for row in ruled), ""]


def page(result: dict) -> str:
    sizes, known = result["sizes"], ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    lines = ["# Received attention, forward and backward of one layer", ""]
    lines += [f"B={sizes['batch']}, H={sizes['heads']}, d={sizes['width']}, {sizes['dtype']}, causal.", ""]
    lines += [
        f"{result['device']}. {known}.",
        "",
        f"`{result['command']}`",
        "",
        "Milliseconds (median), and as a share:",
    ]
    lengths = result["side_by_side"]
    names = list(CONTENDERS)
    lines += table(["S", *names], [[s, *(milliseconds(r.get(n)) for n in names)] for s, r in lengths.items()])
    lines += table(
        ["as a share of", *EAGER],
        [
            [f"{ours}, S={s}, {kind}", *(share(rows, ours, name, key) for name in EAGER)]
            for ours in (BESIDE, ONE_PASS)
            for s, rows in lengths.items()
            for kind, key in (("median", "seconds"), ("fastest", "fastest"))
            if ours in rows and set(EAGER) <= set(rows)
        ],
    )
    lines += ["Growth of peak memory in MB, gradients included:"]
    lines += table(["S", *names], [[s, *(megabytes(r.get(n)) for n in names)] for s, r in lengths.items()])
    lines += ["What settings cost: forward and backward / forward alone, milliseconds, fastest."]
    some = result["variants"]
    lines += table(
        ["", *(f"{who}, S={s}" for who in (ALONE, ONE_PASS) for s in some)],
        [
            [name, *(both_times(each[who].get(name)) for who in (ALONE, ONE_PASS) for each in some.values())]
            for name in next(iter(some.values()), {ALONE: {}})[ALONE]
        ],
    )
    lines += ["Noise of one sample of rows, relative to all rows:"]
    noises = {f"S={s}, {name}": row for s, each in result["noise"].items() for name, row in each.items()}
    lines += numbers(noises, "{:.3f}")
    lines += ["Error, relative to float64:"]
    lines += numbers(result["errors"], "{:.1e}")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def numbers(rows: dict[str, dict[str, float]], style: str) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = [[n, *(style.format(row[c]) if c in row else "" for c in columns)] for n, row in rows.items()]
    return table(["", *columns], cells)


def both_times(row: dict | None) -> str:
    return "" if row is None else f"{row['seconds'] * 1e3:.1f} / {row['forward_seconds'] * 1e3:.1f}"


def milliseconds(row: dict | None) -> str:
    return "" if row is None else f"{row['seconds'] * 1e3:.1f}"


def megabytes(row: dict | None) -> str:
    return "" if row is None else f"{row['peak_growth_bytes'] / 1e6:.0f}"


def share(rows: dict, ours: str, name: str, key: str) -> str:
    return f"{rows[ours][key] / rows[name][key]:.2f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {"batch": 4, "heads": 8, "width": 64, "repeats": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--variant-lengths", type=int, nargs="*", default=[512, 2048])
    parser.add_argument(
        "--longest-eager", type=int, default=2048, help="beyond this eager attention does not run"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
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
    save(result, page(result), options.output, f"received_attention_{options.device.split(':')[0]}")
    print("\n" + page(result))


if __name__ == "__main__":
    main()
