"""Time, memory and error of received attention, alone and beside SDPA, against eager attention that pools its map.

    python benchmarks/received_attention.py                     # the sizes below, into benchmarks/results/
    python benchmarks/received_attention.py --lengths 128 --repeats 2 --output /tmp/try
    python benchmarks/received_attention.py --device cuda --dtype bfloat16 --lengths 512 2048 8192

One layer, forward and backward to queries and keys (and values where there are any). "Eager" is the softmax of
QK^T in memory, multiplied with the values and pooled over rows. Measuring is explained in `measure.py`; errors
are distances to float64 over its norm, noise of a sample of rows that to all rows.
"""

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from measure import in_fresh_process, machine, peak_growth, times, versions
from torch import Tensor
from torch.nn import functional as F

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


def pooled_by_sum(attention: Tensor, weights: Tensor) -> Tensor:
    return (attention * weights.to(attention.dtype)[:, None, :, None]).sum(dim=2)


OURS, ALONE, FLASH = "SDPA + received attention", "received attention", "SDPA"
EAGER = {
    "eager, pooled by a matrix product": pooled_by_product,
    "eager, pooled by einsum": pooled_by_einsum,
    "eager, pooled by multiply and sum": pooled_by_sum,
}
CONTENDERS: dict[str, Contender] = {FLASH: sdpa, ALONE: received, OURS: sdpa_and_received} | {
    name: partial(eager, pool=pool) for name, pool in EAGER.items()
}
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


def forward_only(inputs: Inputs, **settings) -> None:
    with torch.no_grad():
        received(inputs, **settings)


def side_by_side(length: int, options: argparse.Namespace) -> dict:
    """Seconds and peak growth of every contender at one length."""
    inputs = Inputs.random(length, options)
    steps = {name: partial(step, contender, inputs) for name, contender in CONTENDERS.items()}
    if length > options.longest_eager:
        steps = {name: each for name, each in steps.items() if name not in EAGER}
    seconds = times(steps, options.repeats, options.device)
    rows = {}
    for name, all_of_them in seconds.items():
        rows[name] = {
            "seconds": statistics.median(all_of_them),
            "seconds_all": all_of_them,
            "peak_growth_bytes": in_fresh_process(
                __file__, [*same(options), "--memory-of", name, str(length)]
            ),
        }
        print(f"{length:6d} {name:36s} {rows[name]['seconds'] * 1e3:9.1f} ms", flush=True)
    return rows


def variants(length: int, options: argparse.Namespace) -> dict:
    """What settings, precision and shared key heads cost."""
    cases: dict[str, tuple[Inputs, dict]] = {
        name: (Inputs.random(length, options), settings) for name, settings in VARIANTS.items()
    }
    cases["two key heads"] = Inputs.random(length, options, key_heads=2), {}
    halves = argparse.Namespace(**vars(options) | {"dtype": "bfloat16"})
    cases["bfloat16"] = Inputs.random(length, halves), {}
    padded = Inputs.random(length, options)
    mask = torch.arange(length, device=options.device).expand_as(padded.weights) >= length // 2
    cases["left half is padding"] = replace(padded, weights=padded.weights * mask * 2), {"key_mask": mask}
    whole = {n: partial(step, partial(received, **settings), x) for n, (x, settings) in cases.items()}
    forward = {n: partial(forward_only, x, **settings) for n, (x, settings) in cases.items()}
    both = [times(steps, options.repeats, options.device) for steps in (whole, forward)]
    return {
        name: {
            "seconds": statistics.median(both[0][name]),
            "forward_seconds": statistics.median(both[1][name]),
        }
        for name in cases
    }


def values(x: Inputs, **settings) -> list[Tensor]:
    """What is received and the gradients of queries and keys, in float64."""
    found = received_attention(
        x.query, x.key, scaling=x.query.shape[-1] ** -0.5, weights=x.weights, **settings
    )
    gradients = torch.autograd.grad(found, (x.query, x.key), x.received_slope.to(found.dtype))
    return [tensor.detach().double() for tensor in (found, *gradients)]


def distances(found: list[Tensor], truth: list[Tensor]) -> dict[str, float]:
    relative = [float((a - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True)]
    return dict(zip(("received", "query", "key"), relative, strict=True))


def errors(options: argparse.Namespace) -> dict:
    """Errors of both engines, and the noise of one sample of rows, at the first length."""
    rows = {}
    for dtype in ("float32", "bfloat16"):
        x = Inputs.random(options.lengths[0], argparse.Namespace(**vars(options) | {"dtype": dtype}))
        exact = Inputs(*(t.detach().double().requires_grad_(t.requires_grad) for t in vars(x).values()))
        truth = values(exact, impl="plain")
        for impl in ("plain", "auto"):
            rows[f"{dtype}, {impl}"] = distances(values(x, impl=impl), truth)
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
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(options.device),
        "versions": versions("torch", "triton"),
        "sizes": {name: getattr(options, name) for name in ("batch", "heads", "width", "dtype")},
        "side_by_side": {str(length): side_by_side(length, options) for length in options.lengths},
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
    lines += table(
        ["S", *names],
        [[s, *(milliseconds(rows.get(name)) for name in names)] for s, rows in lengths.items()],
    )
    lines += table(
        [f"{OURS}, as a share of", *EAGER],
        [
            [f"S={s}", *(share(rows, name) for name in EAGER)]
            for s, rows in lengths.items()
            if next(iter(EAGER)) in rows
        ],
    )
    lines += ["Growth of peak memory in MB, gradients included:"]
    lines += table(
        ["S", *names],
        [[s, *(megabytes(rows.get(name)) for name in names)] for s, rows in lengths.items()],
    )
    lines += ["What settings cost: forward and backward / forward alone, milliseconds."]
    some = result["variants"]
    lines += table(
        ["", *(f"S={s}" for s in some)],
        [
            [
                name,
                *(
                    f"{each[name]['seconds'] * 1e3:.1f} / {each[name]['forward_seconds'] * 1e3:.1f}"
                    for each in some.values()
                ),
            ]
            for name in next(iter(some.values()), {})
        ],
    )
    lines += ["Noise of one sample of rows, relative to all rows:"]
    head = ["", "received", "d query", "d key"]
    lines += table(
        head,
        [
            [f"S={s}, {name}", *(f"{v:.3f}" for v in row.values())]
            for s, each in result["noise"].items()
            for name, row in each.items()
        ],
    )
    lines += ["Error, relative to float64:"]
    lines += table(
        head, [[name, *(f"{v:.1e}" for v in row.values())] for name, row in result["errors"].items()]
    )
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def milliseconds(row: dict | None) -> str:
    return "" if row is None else f"{row['seconds'] * 1e3:.1f}"


def megabytes(row: dict | None) -> str:
    return "" if row is None else f"{row['peak_growth_bytes'] / 1e6:.0f}"


def share(rows: dict, name: str) -> str:
    return f"{rows[OURS]['seconds'] / rows[name]['seconds']:.2f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {"batch": 4, "heads": 8, "width": 64, "repeats": 9}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--variant-lengths", type=int, nargs="*", default=[512, 2048])
    parser.add_argument(
        "--longest-eager", type=int, default=2048, help="beyond this eager attention does not run"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore")  # of the libraries
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        name, length = options.memory_of
        inputs = Inputs.random(int(length), options)
        print(peak_growth(partial(step, CONTENDERS[name], inputs), inputs.forget, options.device))
        return
    result = run(options)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / f"received_attention_{options.device.split(':')[0]}"
    file.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    file.with_suffix(".md").write_text(page(result))
    print("\n" + page(result))


if __name__ == "__main__":
    main()
