"""A whole training step with each method for two vocabularies beside hard labels: time, memory, trained parameters.

    STILLROOM_DATA=... python benchmarks/two_vocabulary_step.py --teacher runs/second-teacher
    python benchmarks/two_vocabulary_step.py --teacher runs/second-teacher --repeats 1 --methods ULD --output /tmp/try

A byte-level student of 3.2 M parameters, the teacher of `dolly/second_teacher.yaml` (11.7 M, SentencePiece-style) and
the eight longest of the first hundred responses of Dolly, cut to 256 tokens. Every method has its own settings by
default and stands beside hard labels, as in `dolly/two_tokenizers.yaml`. They are compared with hard labels alone and
the teacher's answer, which those do not use. What a step is and how it is measured: see `recipe_step.py`.
"""

import argparse
import shlex
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from dskd.two_models import add_models
from measure import CLOCKS, machine, save, versions
from method_step import row
from received_attention import table
from recipe_step import COLUMNS, Trial, growth, longest, measured

HARD, BASE = "hard labels", "hard labels and the teacher's answer"
METHODS: dict[str, list[Any]] = {HARD: [], BASE: []} | {
    name: [{"use": use, "weight": 0.5} | settings]
    for name, use, settings in (
        ("shared-vocabulary KL", "vocabulary.shared_kl", {}),
        ("ULD", "vocabulary.uld", {}),
        ("MinED", "vocabulary.mined", {}),
        ("MultiLevelOT", "vocabulary.multi_level_ot", {}),
        ("ALM", "vocabulary.alm", {}),
        ("CDM", "vocabulary.cdm", {}),
        ("GOLD", "vocabulary.gold", {}),
        ("VocAgnoLM", "vocabulary.vocagno", {}),
        ("COT2Align", "vocabulary.cot2align", {}),
        ("cross-model attention", "dual_space.cross_model_attention", {}),
        ("DSKD v2", "dual_space.dskd", {}),
        ("DSKD v2, student space", "dual_space.dskd", {"space": "student"}),
        ("DSKD v2, teacher space", "dual_space.dskd", {"space": "teacher"}),
        ("DWA-KD", "dual_space.dwa_kd", {}),
    )
}


def contender(name: str, work: argparse.Namespace) -> Trial:
    hard = {"use": "hard.cross_entropy", "weight": 0.5}
    return Trial(work, [hard, *METHODS[name]], asks=name != HARD)


def run(options: argparse.Namespace, work: argparse.Namespace) -> dict[str, Any]:
    names = [name for name in METHODS if name in {BASE, *options.methods}]
    grown = growth(contender, names, work)
    trials = {name: contender(name, work) for name in names}
    return {
        "command": shlex.join(["python", *sys.argv]),
        "device": machine(),
        "clock": options.clock,
        "versions": versions("torch", "transformers"),
        "sizes": {
            name: list(each.shape) for name, each in trials[BASE].inputs.items() if "input_ids" in name
        },
        "results": measured(trials, grown, options),
    }


def page(result: dict[str, Any]) -> str:
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    ours, theirs = (" x ".join(map(str, shape)) for shape in result["sizes"].values())
    rows = [row(name, each, result["results"][BASE]) for name, each in result["results"].items()]
    lines = [
        "# A training step with each method for two vocabularies",
        "",
        f"Student of 3.2 M parameters and 8,192 tokens, teacher of 11.7 M and 6,000, {ours} and {theirs} tokens with "
        f"padding, float32, defaults of every method beside hard labels. {result['device']}, {result['clock']} clock. "
        f"{known}.",
        "",
        f"`{result['command']}`",
        "",
        *table(list(COLUMNS), rows),
        "",
        f"The base: {BASE}. Peak: weights and optimizer state, and by how much one step raises the resident set over "
        "them. Trained: parameters that a method adds.",
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_models(parser, samples=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="METHOD"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore")  # of the libraries
    options = parse()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = run(options, longest(options, Path(folder)))
    save(result, page(result), options.output, "two_vocabulary_step_cpu")
    print(page(result))


if __name__ == "__main__":
    main()
