"""Every claim about MTA that can be checked without training a language model, checked.

    python benchmarks/mta/algebra.py

One CPU thread, fixed seeds, under two minutes: phrases and real tokenizers on responses of Dolly, two small trained
models on some of them (`sra/texts.py` says where the data lies). The claims stand in `claims/`, one file per kind; the
reading of them in docs/papers/mta.md. Needs `pip install 'stillroom[spans]'`. Writes results/mta_algebra.json and .md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share, and this folder by its name

from findings import Found, write

from mta.claims import geometry, phrases, tables, weights

KINDS = {
    "Words and phrases": phrases,
    "Weights": weights,
    "Geometry": geometry,
    "Tables and settings": tables,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: Found = {}
    for title, kind in KINDS.items():
        start = time.perf_counter()
        found[title] = kind.findings()
        print(f"{title}: {len(found[title])} claims, {time.perf_counter() - start:.1f} s")
    write(
        found,
        options.output / "mta_algebra",
        title="MTA: what phrases, algebra and small models say",
        command="python benchmarks/mta/algebra.py",
        about="One CPU thread. What it means: docs/papers/mta.md.",
    )


if __name__ == "__main__":
    main()
