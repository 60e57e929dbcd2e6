"""What the initialization of DSKD's projectors keeps of two trained models, without training a language model.

    python benchmarks/dskd/algebra.py

The bench pair (widths 384 and 192, one vocabulary of 8,192) on responses of Dolly; one CPU thread, fixed seeds, under
two minutes. Writes results/dskd_algebra.json and .md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from findings import Found, write

from dskd.claims import FINDINGS
from dskd.models import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models, found = load(), Found()
    for title, claims in FINDINGS.items():
        start = time.perf_counter()
        found[title] = [claim(models) for claim in claims]
        print(f"{title}: {len(claims)} claims, {time.perf_counter() - start:.1f} s")
    write(
        found,
        options.output / "dskd_algebra",
        title="DSKD: what the projectors keep",
        command="python benchmarks/dskd/algebra.py",
        about="Teacher of width 384, student of width 192, one vocabulary of 8,192; one CPU thread.",
    )


if __name__ == "__main__":
    main()
