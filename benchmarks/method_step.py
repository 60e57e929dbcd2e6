"""A whole training step with each attention and feature method beside forward KL: time, memory, trained parameters.

    python benchmarks/method_step.py                             # the sizes below, into benchmarks/results/
    python benchmarks/method_step.py --layers 4 --length 64 --repeats 1 --output /tmp/try
    python benchmarks/method_step.py --clock processor --threads 1     # where others work on the same cores

Models, batch and step are those of `sharp_step.py`: a random Llama teacher (12 layers x 768 x 12 heads), a student
(6 x 384 x 6), 4 x 512 tokens of which half are trained on; teacher's answer, student's forward and backward pass,
AdamW. Every method has its own settings by default, all layers that it compares included. Methods that want as many
heads on both sides have a student of 12 heads half as wide, and a forward KL of their own to be compared with.
Repeats go round all methods, so that what else the machine does meets all alike. How is measured: see `measure.py`.
"""

import argparse
import shlex
import statistics
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from measure import CLOCKS, in_fresh_process, machine, peak_growth, save, times, versions
from received_attention import table
from sharp_step import VOCAB, Trial, Uses

BASE, BASE_12 = "forward KL", "forward KL, student of 12 heads"


def beside(use: str, **settings) -> Uses:
    return {"logits.forward_kl": {}, use: settings}


USES: dict[str, Uses] = {
    BASE: {"logits.forward_kl": {}},
    "hard labels alone": {"hard.cross_entropy": {}},
    "squeeze heads": beside("attention.squeeze_heads"),
    "squeeze heads, constant": beside("attention.squeeze_heads", merge="constant"),
    "squeeze heads, select": beside("attention.squeeze_heads", merge="select"),
    "squeeze heads, MSE": beside("attention.squeeze_heads", divergence="mse"),
    "relations (MiniLMv2)": beside("attention.relations"),
    "SHARP": beside("attention.sharp"),
    "layerwise": beside("hidden.layerwise"),
    "patient": beside("hidden.patient"),
    "projector": beside("hidden.projector"),
    "projector, MLP": beside("hidden.projector", projector="mlp"),
    "self-correlation, by token": beside("hidden.self_correlation"),
    "self-correlation, Frobenius": beside("hidden.self_correlation", norm="frobenius"),
    "VkD, layer norm": beside("hidden.vkd"),
    "VkD, whitening": beside("hidden.vkd", target="whiten"),
    "CKA": beside("hidden.cka"),
    BASE_12: {"logits.forward_kl": {}},
    "map MSE, scores (TinyBERT)": beside("attention.map_mse"),
    "map MSE, probabilities (MobileBERT)": beside("attention.map_mse", compare="probabilities"),
}
HEADS_12 = list(USES)[list(USES).index(BASE_12) :]
"""Methods for as many heads as the teacher has."""


def trial(name: str, options: argparse.Namespace, like: Trial | None = None) -> Trial:
    return Trial(USES[name], options, heads=12 if name in HEADS_12 else 6, like=like)


def trained_by(method: Trial) -> int:
    """Numbers that are trained and are not the student's."""
    every = {id(each): each for each in method.pair.parameters() if each.requires_grad}
    own = {id(each) for each in method.student.parameters()}
    return sum(each.numel() for key, each in every.items() if key not in own)


def run(options: argparse.Namespace) -> dict:
    trials: dict[str, Trial] = {}
    for name in USES:
        if name in options.methods:
            trials[name] = trial(name, options, next(iter(trials.values()), None))
    steps = {name: each.step for name, each in trials.items()}
    seconds = times(steps, options.repeats, options.device, options.clock)
    results = {
        name: {
            "seconds": statistics.median(each),
            "fastest": min(each),
            "seconds_all": each,
            "held_bytes": trials[name].held_bytes(),
            "trained_parameters": trained_by(trials[name]),
        }
        for name, each in seconds.items()
    }
    for name, row in results.items():
        print(f"{name:40s} {row['seconds']:.2f} {row['fastest']:.2f}", flush=True)
    trials.clear()
    steps.clear()
    for name, row in results.items():
        row["peak_growth_bytes"] = in_fresh_process(__file__, [*same(options), "--memory-of", name])
    return {
        "command": shlex.join(["python", *sys.argv]),
        "device": machine(options.device),
        "clock": options.clock,
        "versions": versions("torch", "transformers"),
        "sizes": {name: getattr(options, name) for name in ("layers", "batch", "length")},
        "results": results,
    }


def same(options: argparse.Namespace) -> list[str]:
    """The options that a fresh process must share."""
    names = ("layers", "batch", "length", "threads", "device")
    return [word for name in names for word in (f"--{name}", str(getattr(options, name)))]


def page(result: dict) -> str:
    sizes, results = result["sizes"], result["results"]
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# A training step with each attention and feature method beside forward KL",
        "",
        f"Teacher of {sizes['layers']} layers x 768 x 12 heads, student of half the layers x 384 x 6, "
        f"vocabulary {VOCAB}, B={sizes['batch']}, S={sizes['length']}, float32, defaults of every method. "
        f"{result['device']}, {result['clock']} clock. {known}.",
        "",
        f"`{result['command']}`",
    ]
    head = [
        "step",
        "seconds (median)",
        "fastest",
        "of forward KL",
        "fastest",
        "peak, MB",
        "of forward KL",
        "trained",
    ]
    for base in (BASE, BASE_12):
        if base in results:
            names = [name for name in results if (name in HEADS_12) == (base in HEADS_12)]
            lines += table(head, [row(name, results[name], results[base]) for name in names])
    lines += [
        "Of forward KL: with the same student; of medians, and of the fastest of each. Peak: weights and optimizer "
        "state, and by how much one step raises the resident set over them. Trained: parameters that a method adds.",
    ]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def row(name: str, own: dict, base: dict) -> list[str]:
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
    for name, value in {"layers": 12, "batch": 4, "length": 512, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--methods", nargs="+", choices=list(USES), default=list(USES), metavar="METHOD")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory-of", choices=list(USES), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore")  # of the libraries
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        method = trial(options.memory_of, options)
        print(peak_growth(partial(method.step), method.forget, options.device))
        return
    result = run(options)
    save(result, page(result), options.output, f"method_step_{options.device.split(':')[0]}")
    print(page(result))


if __name__ == "__main__":
    main()
