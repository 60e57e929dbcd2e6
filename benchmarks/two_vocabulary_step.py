"""A whole training step with each method for two vocabularies beside hard labels: time, memory, trained parameters.

    STILLROOM_DATA=... python benchmarks/two_vocabulary_step.py --teacher runs/second-teacher
    python benchmarks/two_vocabulary_step.py --teacher runs/second-teacher --repeats 1 --methods ULD --output /tmp/try

A byte-level student of 3.2 M parameters, the teacher of `dolly/second_teacher.yaml` (11.7 M, SentencePiece-style) and
the eight longest of the first hundred responses of Dolly, cut to 256 tokens; teacher's answer, student's forward and
backward pass, AdamW. Every method has its own settings by default and stands beside hard labels, as in
`dolly/two_tokenizers.yaml`. They are compared with hard labels alone and the teacher's answer, which those do not use.
Repeats go round all methods, so that what else the machine does meets all alike. How is measured: see `measure.py`;
memory is that of processes forked before anything was computed.
"""

import argparse
import json
import multiprocessing
import shlex
import statistics
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from dskd.two_models import add_models, open_models, recipe_of
from measure import CLOCKS, machine, peak_growth, save, times, versions
from received_attention import table
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.signals import FinalHidden, Head

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


class Trial:
    """Models, objectives, optimizer and one batch of a contender."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        hard = {"use": "hard.cross_entropy", "weight": 0.5}
        models = open_models(recipe_of(options, [hard, *METHODS[name]]), batch_size=options.batch)
        self.pair, self.teacher = models.built.pair.train(), models.built.teacher
        self.asked = () if name == HARD else self.pair.teacher_requests or (FinalHidden(), Head())
        self.optimizer = torch.optim.AdamW((p for p in self.pair.parameters() if p.requires_grad), lr=1e-5)
        self.inputs = models.inputs[0]

    def step(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        self.optimizer.zero_grad()

    def loss(self) -> Tensor:
        assert self.teacher is not None
        batch = Batch.from_inputs(self.inputs)
        totals = self.pair(self.inputs, self.teacher.answer(batch, self.asked))
        counts, factors = self.pair.counts(batch), self.pair.factors()
        return torch.stack(
            [factors[key] * each / counts[key].clamp(min=1) for key, each in totals.items()]
        ).sum()

    def held_bytes(self) -> int:
        """Weights of both models and of objectives, and what the optimizer keeps."""
        assert self.teacher is not None
        state = [t for each in self.optimizer.state.values() for t in each.values() if isinstance(t, Tensor)]
        weights = [each for member in self.teacher.members for each in member.model.parameters()]  # type: ignore[attr-defined]
        kept = [*self.pair.parameters(), *self.pair.buffers(), *weights, *state]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def trained(self) -> int:
        """Numbers that are trained and are not the student's."""
        return sum(each.numel() for each in self.pair.parts.parameters() if each.requires_grad)


def longest(options: argparse.Namespace, folder: Path) -> argparse.Namespace:
    """The options, on the longest of the first samples alone: rows are full, as in a batch grouped by length."""
    lines = options.text.read_text(encoding="utf-8").splitlines()[: options.samples]
    chosen = sorted(lines, key=lambda line: -len(str(json.loads(line)["output"])))[: options.batch]
    (folder / "longest.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return argparse.Namespace(
        **vars(options) | {"text": folder / "longest.jsonl", "samples": None, "output": folder}
    )


def run(options: argparse.Namespace, work: argparse.Namespace) -> dict[str, Any]:
    names = [name for name in METHODS if name in {BASE, *options.methods}]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        growth = pool.starmap(memory_of, [(name, work) for name in names], chunksize=1)
    trials = {name: Trial(name, work) for name in names}
    steps = {name: each.step for name, each in trials.items()}
    seconds = times(steps, options.repeats, "cpu", options.clock)
    sizes = {name: list(each.shape) for name, each in trials[BASE].inputs.items() if "input_ids" in name}
    results = {
        name: {
            "seconds": statistics.median(seconds[name]),
            "fastest": min(seconds[name]),
            "seconds_all": seconds[name],
            "held_bytes": trials[name].held_bytes(),
            "peak_growth_bytes": bytes_more,
            "trained_parameters": trials[name].trained(),
        }
        for name, bytes_more in zip(names, growth, strict=True)
    }
    return {
        "command": shlex.join(["python", *sys.argv]),
        "device": machine(),
        "clock": options.clock,
        "versions": versions("torch", "transformers"),
        "sizes": sizes,
        "results": results,
    }


def memory_of(name: str, options: argparse.Namespace) -> int:
    """Bytes by which a step raises the resident set of this process."""
    method = Trial(name, options)
    return peak_growth(method.step, method.forget)


def page(result: dict[str, Any]) -> str:
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    ours, theirs = (" x ".join(map(str, shape)) for shape in result["sizes"].values())
    rows = [row(name, each, result["results"][BASE]) for name, each in result["results"].items()]
    head = [
        "step",
        "seconds (median)",
        "fastest",
        "of the base",
        "fastest",
        "peak, MB",
        "of the base",
        "trained",
    ]
    lines = [
        "# A training step with each method for two vocabularies",
        "",
        f"Student of 3.2 M parameters and 8,192 tokens, teacher of 11.7 M and 6,000, {ours} and {theirs} tokens with "
        f"padding, float32, defaults of every method beside hard labels. {result['device']}, {result['clock']} clock. "
        f"{known}.",
        "",
        f"`{result['command']}`",
        "",
        *table(head, rows),
        "",
        f"The base: {BASE}. Peak: weights and optimizer state, and by how much one step raises the resident set over "
        "them. Trained: parameters that a method adds.",
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def row(name: str, own: dict[str, Any], base: dict[str, Any]) -> list[str]:
    peak, base_peak = (each["held_bytes"] + each["peak_growth_bytes"] for each in (own, base))
    return [
        name,
        f"{own['seconds']:.2f}",
        f"{own['fastest']:.2f}",
        f"{own['seconds'] / base['seconds']:.2f}",
        f"{own['fastest'] / base['fastest']:.2f}",
        f"{peak / 1e6:.0f}",
        f"{peak / base_peak:.2f}",
        f"{own['trained_parameters']:,}",
    ]


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
