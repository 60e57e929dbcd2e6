"""Every claim of the squeezing-heads paper that can be checked without training a language model, checked.

    python benchmarks/shd/algebra.py

One CPU thread, fixed seeds; random heads, and two small trained models on real text (see `teachers.py` for the data).
The claims stand in `claims/`, one file per kind; the reading of them in docs/papers/squeezing_heads.md. Writes
results/shd_algebra.json and .md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share, and this folder by its name

from findings import Found, write

from shd.claims import (
    alike,
    closed_form,
    compression,
    costs,
    rank,
    shares,
    tables,
    temperature,
)

KINDS = {
    "Rank": rank,
    "Exact compression": compression,
    "The closed form": closed_form,
    "What alpha is": shares,
    "How alike heads are": alike,
    "The loss": temperature,
    "Cost": costs,
    "Tables and settings": tables,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: Found = {}
    for title, kind in KINDS.items():
        start = time.perf_counter()
        found[title] = kind.findings()
        print(f"{title}: {len(found[title])} claims, {time.perf_counter() - start:.1f} s")
    publish(found, options.output)


def publish(found: Found, folder: Path) -> None:
    write(
        found,
        folder / "shd_algebra",
        title="Squeezing heads: what algebra and small models say",
        command="python benchmarks/shd/algebra.py",
        about="One CPU thread, float64 but for the models themselves. What it means: docs/papers/squeezing_heads.md.",
    )


if __name__ == "__main__":
    main()
