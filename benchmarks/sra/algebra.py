"""Every claim about SRA that can be checked without training a language model, checked.

    python benchmarks/sra/algebra.py

One CPU thread, fixed seeds, under two minutes: real tokenizers on responses of Dolly, and two small trained models on
some of them (see `texts.py` for the data). The claims stand in `claims/`, one file per kind; the reading of them in
docs/papers/sra.md. Writes results/sra_algebra.json and .md.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share, and this folder by its name

from findings import Found, write

from sra.claims import attention, logits, spans, tables

KINDS = {"Spans": spans, "Attention": attention, "Logits of spans": logits, "Tables and settings": tables}


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
        options.output / "sra_algebra",
        title="SRA: what tokenizers, algebra and small models say",
        command="python benchmarks/sra/algebra.py",
        about="One CPU thread. What it means: docs/papers/sra.md.",
    )


if __name__ == "__main__":
    main()
