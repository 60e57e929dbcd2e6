"""Every claim of the SHARP paper that can be checked without training a language model, checked.

    python benchmarks/sharp/algebra.py

Float64 on one CPU thread, fixed seeds, under two minutes. The claims stand in `claims/`, one file per kind; the
reading of them in docs/papers/sharp.md. Writes results/sharp_algebra.json and .md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from claims import costs, frames, gradients, libraries, maps, tables
from findings import Found, write

KINDS = {
    "Projections and orthogonality": frames,
    "Pooled attention": maps,
    "Gradient interference": gradients,
    "Tables": tables,
    "Cost and capacity": costs,
    "Libraries": libraries,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: Found = {}
    for title, kind in KINDS.items():
        start = time.perf_counter()
        found[title] = kind.findings()
        print(f"{title}: {len(found[title])} claims, {time.perf_counter() - start:.1f} s")
    write(
        found,
        options.output / "sharp_algebra",
        title="SHARP: what algebra and small numbers say",
        command="python benchmarks/sharp/algebra.py",
        about="Float64, one CPU thread. What it means: docs/papers/sharp.md.",
    )


if __name__ == "__main__":
    main()
