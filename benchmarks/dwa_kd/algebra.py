"""Every claim of the DWA-KD paper that can be checked without training a language model, checked.

    python benchmarks/dwa_kd/algebra.py

One CPU thread, fixed seeds, under a minute; random sequences, and two small trained models on Dolly (see `models.py`
for the data). The claims stand in `claims/`, one file per kind; the reading of them in docs/papers/dwa_kd.md. Writes
results/dwa_kd_algebra.json and .md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share, and this folder by its name

from findings import Found, write

from dwa_kd.claims import tables, warping, weights

KINDS = {"Weights": weights, "Warping": warping, "Tables and settings": tables}


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
        options.output / "dwa_kd_algebra",
        title="DWA-KD: what algebra and small numbers say",
        command="python benchmarks/dwa_kd/algebra.py",
        about="One CPU thread. What it means: docs/papers/dwa_kd.md.",
    )


if __name__ == "__main__":
    main()
