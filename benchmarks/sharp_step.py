"""A whole training step: forward KL, the same with SHARP beside it, and SHARP as everyone else would do it.

    python benchmarks/sharp_step.py                             # the sizes below, into benchmarks/results/
    python benchmarks/sharp_step.py --layers 2 --length 64 --repeats 1 --output /tmp/try

A random Llama teacher (12 layers x 768 x 12 heads) and student (6 x 384 x 6), vocabulary 8,192, batches of 4 x 512
tokens of which half are trained on. A step is the teacher's answer, the student's forward and backward pass, and
AdamW. The eager route asks both models for their attention maps (`output_attentions=True`), pools them over rows
and hands them to the same objectives. Measuring is explained in `measure.py`; memory held is that of weights and
optimizer.
"""

import argparse
import statistics
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import in_fresh_process, machine, peak_growth, save, times, versions
from teacher_cache import VOCAB, RandomText, llama
from torch import Tensor
from transformers import LlamaForCausalLM

from stillroom.core.batch import Batch, Side
from stillroom.core.signals import FinalHidden, Head, HeadWeights, ReceivedAttention, Signals
from stillroom.data.collate import Collator
from stillroom.objectives import find
from stillroom.taps.prepare import prepare
from stillroom.taps.shape import model_shape
from stillroom.teachers.live import LiveTeacher
from stillroom.training.pair import Pair

BASE, SHARP, EAGER = "forward KL", "forward KL + SHARP", "forward KL + SHARP, eager route"
Uses = dict[str, dict[str, Any]]
"""Objectives by name, with their settings."""
BESIDE: Uses = {"logits.forward_kl": {}, "attention.sharp": {}}
USES: dict[str, Uses] = {BASE: {"logits.forward_kl": {}}, SHARP: BESIDE, EAGER: BESIDE}


class Trial:
    """Models, objectives, optimizer and one batch of a contender."""

    def __init__(
        self,
        uses: Uses,
        options: argparse.Namespace,
        *,
        is_eager: bool = False,
        heads: int = 6,
        like: "Trial | None" = None,
    ) -> None:
        """`heads` of the student; `like` a contender whose teacher's weights serve this one too."""
        layers, length = options.layers, options.length
        teacher = llama(layers, 768, 12, length, seed=0).to(options.device)
        if like is not None:
            teacher.load_state_dict(like.teacher.model.state_dict(), assign=True)
        self.teacher = LiveTeacher(teacher, vocab_size=VOCAB, vocabulary="random")
        self.student = llama(max(layers // 2, 1), 384, heads, length, seed=1).to(options.device)
        torch.manual_seed(2)
        objectives = {use: find(use)(**settings) for use, settings in uses.items()}
        shape = model_shape(self.student, VOCAB, "random")
        self.pair = Pair(self.student, objectives, dict.fromkeys(objectives, 1.0), shape, self.teacher.shape)
        self.pair.to(options.device)
        self.is_eager = is_eager
        if is_eager:
            for model in (self.student, self.teacher.model):
                model.set_attn_implementation("eager")
        else:
            prepare(self.student, self.pair.student_requests)
            self.teacher.prepare(self.pair.teacher_requests)
        self.optimizer = torch.optim.AdamW(self.pair.parameters(), lr=1e-5)
        inputs = Collator(0)(RandomText(options.batch, length)[:])
        self.inputs = {key: value.to(options.device) for key, value in inputs.items()}

    def step(self) -> None:
        self.loss().backward()
        self.optimizer.step()
        self.forget()

    def forget(self) -> None:
        self.optimizer.zero_grad()

    def loss(self) -> Tensor:
        batch = Batch.from_inputs(self.inputs)
        totals = self._eager_totals(batch) if self.is_eager else self._totals(batch)
        counts, factors = self.pair.counts(batch), self.pair.factors()
        return torch.stack([factors[key] * each / counts[key] for key, each in totals.items()]).sum()

    def _totals(self, batch: Batch) -> dict[str, Tensor]:
        return self.pair(self.inputs, self.teacher.answer(batch, self.pair.teacher_requests))

    def _eager_totals(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            teacher = eager_signals(self.teacher.model, batch.teacher)
        student = eager_signals(self.student, batch.student)
        return {
            f"{name}/{term}": loss.total
            for name, objective in self.pair.objectives.items()
            for term, loss in objective(student, teacher, batch).items()
        }

    def held_bytes(self) -> int:
        """Weights of both models and of objectives, and what the optimizer keeps."""
        state = [t for each in self.optimizer.state.values() for t in each.values() if isinstance(t, Tensor)]
        kept = [*self.pair.parameters(), *self.pair.buffers(), *self.teacher.model.parameters(), *state]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)


def eager_signals(model: LlamaForCausalLM, side: Side) -> Signals:
    """What SHARP and forward KL read, from attention maps that the model returns."""
    output = model.model(side.input_ids, attention_mask=side.attention_mask, output_attentions=True)
    answers: dict = {FinalHidden(): output.last_hidden_state, Head(): HeadWeights(model.lm_head.weight)}
    for layer, attention in enumerate(output.attentions, start=1):
        request = ReceivedAttention(layer)
        weights = side.row_weights(request.rows)[:, None, None, :]
        answers[request] = (weights @ attention).squeeze(2)
    return Signals(answers)


def contender(name: str, options: argparse.Namespace) -> Trial:
    return Trial(USES[name], options, is_eager=name == EAGER)


def run(options: argparse.Namespace) -> dict:
    trials = {name: contender(name, options) for name in USES}
    losses = {name: trial.loss().item() for name, trial in trials.items()}
    seconds = times({name: trial.step for name, trial in trials.items()}, options.repeats, options.device)
    results = {
        name: {
            "seconds": statistics.median(each),
            "seconds_all": each,
            "loss": losses[name],
            "held_bytes": trials[name].held_bytes(),
            "peak_growth_bytes": in_fresh_process(__file__, [*same(options), "--memory-of", name]),
        }
        for name, each in seconds.items()
    }
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(options.device),
        "versions": versions("torch", "transformers"),
        "sizes": {name: getattr(options, name) for name in ("layers", "batch", "length")},
        "results": results,
    }


def same(options: argparse.Namespace) -> list[str]:
    """The options that a fresh process must share."""
    names = ("layers", "batch", "length", "threads", "device")
    return [word for name in names for word in (f"--{name}", str(getattr(options, name)))]


def page(result: dict) -> str:
    sizes, base = result["sizes"], result["results"][BASE]
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "# A training step with and without SHARP",
        "",
        f"Teacher of {sizes['layers']} layers x 768 x 12 heads, student of half the layers x 384 x 6, "
        f"vocabulary {VOCAB}, B={sizes['batch']}, S={sizes['length']}, float32. {result['device']}. {known}.",
        "",
        f"`{result['command']}`",
        "",
        "| step | seconds (median) | fastest | of forward KL | peak, MB | of forward KL | loss |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in result["results"].items():
        peak = row["held_bytes"] + row["peak_growth_bytes"]
        share = peak / (base["held_bytes"] + base["peak_growth_bytes"])
        lines.append(
            f"| {name} | {row['seconds']:.2f} | {min(row['seconds_all']):.2f} | {row['seconds'] / base['seconds']:.2f} "
            f"| {peak / 1e6:.0f} | {share:.2f} | {row['loss']:.6f} |"
        )
    lines += [
        "",
        "Peak: weights and optimizer state, and by how much one step raises the resident set over them.",
    ]
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in {"layers": 12, "batch": 4, "length": 512, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--memory-of", choices=list(USES), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    warnings.filterwarnings("ignore")  # of the libraries
    options = parse()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        trial = contender(options.memory_of, options)
        print(peak_growth(partial(trial.step), trial.forget, options.device))
        return
    result = run(options)
    save(result, page(result), options.output, f"sharp_step_{options.device.split(':')[0]}")
    print(page(result))


if __name__ == "__main__":
    main()
