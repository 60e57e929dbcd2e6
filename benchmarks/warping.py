"""Time, memory and error of soft-DTW and its gradient, against a plain loop and against autograd.

    python benchmarks/warping.py                                    # the sizes below, into benchmarks/results/
    python benchmarks/warping.py --sizes 2x64x64 --repeats 1 --output /tmp/try

The plain loop goes over Python floats, for the value and for its gradient. The other contender computes anti-diagonals
as the package does and lets autograd find the gradient, as a short program would. Costs are random, 0 to 2. Time is
that of the processor, on one thread, with repeats interleaved: it does not count what else runs on the machine. Memory
is measured as `measure.py` says; error is the greatest distance of the gradient to that of the plain loop.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from measure import in_fresh_process, machine, peak_growth, save, versions
from torch import Tensor

from stillroom.numerics.warping import soft_dtw

GAMMA = 1.0
LOOP, AUTOGRAD, OURS = "plain Python loop", "anti-diagonals, autograd", "`numerics.warping`"


def plain_loop(cost: Tensor) -> Tensor:
    """The gradient `[B,S,T]`."""
    return torch.tensor([_plain(table) for table in cost.tolist()])


def _plain(cost: list[list[float]]) -> list[list[float]]:
    height, width, exp, log = len(cost), len(cost[0]), math.exp, math.log
    totals = [[math.inf] * (width + 1) for _ in range(height + 1)]
    totals[0][0] = 0.0
    for i, row in enumerate(cost):
        above, here = totals[i], totals[i + 1]
        for j, each in enumerate(row):
            a, b, c = above[j], above[j + 1], here[j]
            least = min(a, b, c)
            total = exp((least - a) / GAMMA) + exp((least - b) / GAMMA) + exp((least - c) / GAMMA)
            here[j + 1] = each + least - GAMMA * log(total)
    shares = [[0.0] * (width + 1) for _ in range(height + 1)]
    shares[height][width] = 1.0
    for i in range(height, 0, -1):
        for j in range(width, 0, -1):
            share, before = shares[i][j], totals[i][j] - cost[i - 1][j - 1]
            for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)):
                shares[a][b] += share * exp((before - totals[a][b]) / GAMMA)
    return [row[1:] for row in shares[1:]]


def by_autograd(cost: Tensor) -> Tensor:
    """The gradient `[B,S,T]`."""
    cost = cost.clone().requires_grad_()
    batch, height, width = cost.shape
    rows = torch.arange(height)
    border = torch.full((batch, 1), math.inf)
    before, last = torch.full((2, batch, height + 1), math.inf)
    before[:, 0] = 0.0
    for k in range(height + width - 1):
        exists = (k - rows >= 0) & (k - rows < width)
        here = cost[:, rows, (k - rows).clamp(0, width - 1)]
        three = torch.stack([before[:, :-1], last[:, :-1], last[:, 1:]])
        three = three.clamp(max=1e8)  # minus infinity three times would make a NaN
        total = here - GAMMA * torch.logsumexp(-three / GAMMA, dim=0)
        before, last = last, torch.cat([border, torch.where(exists, total, math.inf)], dim=1)
    last[:, -1].sum().backward()
    assert cost.grad is not None
    return cost.grad


def by_package(cost: Tensor) -> Tensor:
    """The gradient `[B,S,T]`."""
    cost = cost.clone().requires_grad_()
    soft_dtw(cost, GAMMA).sum().backward()
    assert cost.grad is not None
    return cost.grad


CONTENDERS: dict[str, Callable[[Tensor], Tensor]] = {
    LOOP: plain_loop,
    AUTOGRAD: by_autograd,
    OURS: by_package,
}


def costs(size: str) -> Tensor:
    torch.manual_seed(0)
    return torch.rand([int(each) for each in size.split("x")]) * 2


def seconds_of(cost: Tensor, repeats: int) -> dict[str, list[float]]:
    """Of every repeat of every contender, after one that warms up."""
    found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for repeat in range(repeats + 1):
        for name, contender in CONTENDERS.items():
            start = time.process_time()
            contender(cost)
            if repeat > 0:
                found[name].append(time.process_time() - start)
    return found


def run(options: argparse.Namespace) -> dict:
    results = {}
    for size in options.sizes:
        cost = costs(size)
        truth = plain_loop(cost)
        results[size] = {
            name: {
                "seconds": statistics.median(each),
                "seconds_all": each,
                "gradient_error": (CONTENDERS[name](cost) - truth).abs().max().item(),
                "peak_growth_bytes": in_fresh_process(__file__, ["--sizes", size, "--memory-of", name]),
            }
            for name, each in seconds_of(cost, options.repeats).items()
        }
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(),
        "versions": versions("torch"),
        "gamma": GAMMA,
        "results": results,
    }


def page(result: dict) -> str:
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# Soft-DTW and its gradient",
        "",
        f"Costs B x S x T in float32, gamma {result['gamma']}. {result['device']}. {known}.",
        "",
        f"`{result['command']}`",
        "",
        "| size | contender | seconds (median) | fastest | loop / contender | peak growth, MB | gradient error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for size, rows in result["results"].items():
        for name, row in rows.items():
            lines.append(
                f"| {size} | {name} | {row['seconds']:.4f} | {min(row['seconds_all']):.4f} "
                f"| {rows[LOOP]['seconds'] / row['seconds']:.1f} | {row['peak_growth_bytes'] / 1e6:.1f} "
                f"| {row['gradient_error']:.1e} |"
            )
    lines += ["", "Seconds of the processor for value and gradient together."]
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["8x256x256", "1x1024x1024"], metavar="BxSxT")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory-of", choices=list(CONTENDERS), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    if options.memory_of:
        cost = costs(options.sizes[0])
        print(peak_growth(partial(CONTENDERS[options.memory_of], cost), lambda: None))
        return
    result = run(options)
    save(result, page(result), options.output, "warping_cpu")
    print(page(result))


if __name__ == "__main__":
    main()
