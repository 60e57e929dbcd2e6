"""A whole training step with MTA, feature dynamics (FDD) or SRA beside its base: time, memory, trained parameters.

    STILLROOM_DATA=... python benchmarks/span_step.py --second-teacher runs/second-teacher
    STILLROOM_DATA=... python benchmarks/span_step.py --repeats 1 --contenders MTA FDD --output /tmp/try

The byte-level student of 3.2 M parameters, and the eight longest of the first hundred responses of Dolly, cut to 256
tokens. With one tokenizer the teacher has 12.6 M parameters, and the base is skew reverse KL; with two (if there is a
`--second-teacher`, that of `dolly/second_teacher.yaml`) MTA stands beside hard labels and shared-vocabulary KL, half
each, and SRA, half, beside half hard labels, compared with these and the teacher's answer, which they do not use.

Words and phrases are part of the batch: they were found when the text was read, and a training finds them once. "Cut in
the step" does it as the authors' program does, in every step anew: a segmenter without a cache reads the eight texts,
and its pieces are found in the tokens. The program has spaCy there; here TextBlob, and spaCy too if a `--pipeline` is
named. What a step is and how it is measured: see `recipe_step.py`.
"""

import argparse
import os
import shlex
import statistics
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from dskd.models import BENCH
from dskd.two_models import add_models
from measure import CLOCKS, machine, save, times, versions
from method_step import row
from received_attention import table
from recipe_step import COLUMNS, Trial, growth, longest, measured
from torch import Tensor

from stillroom.alignment.byte_ends import OUTSIDE
from stillroom.alignment.reader import Reader, common_form
from stillroom.alignment.spans import units_of, whole
from stillroom.data.spans.make import make_segmenter
from stillroom.recipe.models import load_tokenizer
from stillroom.recipe.prepare import read_samples

Tokenizers = Literal["one tokenizer", "two tokenizers"]
BASE, BASE_TWO, BASE_SRA = (
    "skew reverse KL",
    "hard labels and shared-vocabulary KL",
    "hard labels and the teacher's answer",
)


@dataclass(frozen=True)
class Contender:
    """What stands beside a base, and who cuts the text; `cut`: in every step anew."""

    base: str
    beside: tuple[dict[str, Any], ...] = ()
    spans: Literal["textblob", "spacy", "windows"] = "textblob"
    cut: bool = False


def mta(base: str = BASE, spans: Any = "textblob", cut: bool = False, **settings: Any) -> Contender:
    return Contender(base, ({"use": "span.mta", **settings},), spans, cut)


def sra(**settings: Any) -> Contender:
    return Contender(BASE_SRA, ({"use": "span.sra", "weight": 0.5, **settings},))


FDD = {"use": "hidden.feature_dynamics"}
HARD = {"use": "hard.cross_entropy", "weight": 0.5}
BASES: dict[str, tuple[Tokenizers, list[dict[str, Any]]]] = {
    BASE: ("one tokenizer", [{"use": "logits.skew_reverse_kl"}]),
    BASE_TWO: ("two tokenizers", [HARD, {"use": "vocabulary.shared_kl", "weight": 0.5}]),
    BASE_SRA: ("two tokenizers", [HARD]),
}
SPACY = "MTA, cut in the step by spaCy"
CONTENDERS: dict[str, Contender] = {
    BASE: Contender(BASE),
    "MTA": mta(),
    "MTA, cut in the step by TextBlob": mta(cut=True),
    SPACY: mta(spans="spacy", cut=True),
    "MTA, windows of words": mta(spans="windows"),
    "MTA, structure alone": mta(hidden_weight=0),
    "MTA, hidden states alone": mta(structure_weight=0),
    "MTA, no weights": mta(token_weights="uniform", pair_weights="uniform"),
    "FDD": Contender(BASE, (FDD,)),
    "FDD and MTA": Contender(BASE, (FDD, {"use": "span.mta"})),
    BASE_TWO: Contender(BASE_TWO),
    "MTA, two tokenizers": mta(BASE_TWO),
    BASE_SRA: Contender(BASE_SRA),
    "SRA": sra(),
    "SRA, logits alone": sra(cosine_weight=0, geometry_weight=0),
    "SRA, phrases": sra(spans="phrases"),
}


class CutInStep(Trial):
    """Cuts the texts of its batch anew in every step."""

    def __init__(self, options: argparse.Namespace, objectives: list[Any], spans: dict[str, str]) -> None:
        super().__init__(options, objectives, spans=spans)
        self.segmenter = make_segmenter(spans["use"], spans.get("pipeline"), cache=False)
        tokenizer = load_tokenizer(self.recipe.student.model, "student")
        self.reader = Reader(tokenizer.backend_tokenizer.to_str())
        responses = {sample.index: sample.response for sample in read_samples(self.recipe)[0]}
        rows = self.inputs["sample_ids"].tolist()
        self.texts = [common_form(responses[index], [self.reader.table]) for index in rows]

    def step(self) -> None:
        self.inputs |= self.cut()
        super().step()

    def cut(self) -> dict[str, Tensor]:
        """`words` and `phrases [B,S]` of the batch."""
        found = {name: torch.full_like(self.inputs["input_ids"], OUTSIDE) for name in ("words", "phrases")}
        for number, spans in enumerate(self.segmenter.segment(self.texts)):
            (said,) = self.inputs["response_mask"][number].nonzero(as_tuple=True)
            ends = self.reader.read(self.texts[number]).ends
            assert ends is not None
            for name, each in (("words", spans.words), ("phrases", spans.phrases)):
                units = units_of(ends, each)
                kept = whole(units[: len(said)], units)
                found[name][number, said[: len(kept)]] = torch.from_numpy(kept)
        return found


def contender(name: str, work: argparse.Namespace) -> Trial:
    own = CONTENDERS[name]
    tokenizers, base = BASES[own.base]
    teacher = work.teacher if tokenizers == "one tokenizer" else work.second_teacher
    options = argparse.Namespace(**vars(work) | {"teacher": teacher})
    spans = {"use": own.spans} | ({"pipeline": work.pipeline} if own.spans == "spacy" else {})
    objectives = [*base, *own.beside]
    return CutInStep(options, objectives, spans) if own.cut else Trial(options, objectives, spans=spans)


def run(options: argparse.Namespace, work: argparse.Namespace) -> dict[str, Any]:
    names = chosen(options)
    grown = growth(contender, names, work)
    trials = {name: contender(name, work) for name in names}
    results = measured(trials, grown, options)
    cuts = {name: each.cut for name, each in trials.items() if isinstance(each, CutInStep)}
    for name, seconds in times(cuts, options.repeats, "cpu", options.clock).items():
        results[name]["cut_seconds"] = statistics.median(seconds)
    return {
        "command": shlex.join(["python", *sys.argv]),
        "device": machine(),
        "clock": options.clock,
        "versions": versions("torch", "transformers", "textblob", *(["spacy"] if options.pipeline else [])),
        "sizes": sizes(trials),
        "results": results,
    }


def chosen(options: argparse.Namespace) -> list[str]:
    """Those that are asked for and possible, with what they are compared with."""
    asked = [name for name in options.contenders if name != SPACY or options.pipeline]
    wanted = {*asked, *(CONTENDERS[name].base for name in asked)}
    possible = {"one tokenizer", "two tokenizers"} if options.second_teacher else {"one tokenizer"}
    return [name for name, own in CONTENDERS.items() if name in wanted and BASES[own.base][0] in possible]


def sizes(trials: dict[str, Trial]) -> dict[str, dict[str, Any]]:
    """Shapes of the batches, and how many tokens are trained and how many words and phrases the student's side has."""
    found: dict[str, dict[str, Any]] = {}
    for name, trial in trials.items():
        own, inputs = found.setdefault(BASES[CONTENDERS[name].base][0], {}), trial.inputs
        own["student"] = list(inputs["input_ids"].shape)
        own["teacher"] = list(inputs.get("teacher_input_ids", inputs["input_ids"]).shape)
        own["trained"] = int(inputs["response_mask"].sum())
        for kind in ("words", "phrases"):
            if kind in inputs and CONTENDERS[name].spans == "textblob":
                own[kind] = sum(len(row[row >= 0].unique()) for row in inputs[kind])
    return found


def page(result: dict[str, Any]) -> str:
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    results = result["results"]
    lines = [
        "# A training step with objectives over words, phrases and trajectories",
        "",
        "Student of 3.2 M parameters, 4 layers, 8,192 tokens; teacher of 12.6 M, 6 layers and the same tokens, or of "
        f"11.7 M and 6,000 tokens; float32, defaults of every objective. {result['device']}, {result['clock']} clock. "
        f"{known}.",
        "",
        *(f"* {tokenizers}: {in_words(own)}" for tokenizers, own in result["sizes"].items()),
        "",
        f"`{result['command']}`",
    ]
    for base in BASES:
        names = [name for name in results if CONTENDERS[name].base == base]
        if names:
            lines += table(list(COLUMNS), [row(name, results[name], results[base]) for name in names])
    lines += [
        "The base of each table: its first row. Words and phrases lie in the batch, but where they are cut in the step."
        " Peak: weights and optimizer state, and by how much one step raises the resident set over them. Trained: "
        "parameters that an objective adds.",
    ]
    for name, own in results.items():
        if "cut_seconds" in own:
            lines += ["", f"{name}: {own['cut_seconds'] * 1e3:.0f} ms a step for that alone."]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def in_words(own: dict[str, Any]) -> str:
    ours, theirs = (" x ".join(map(str, own[role])) for role in ("student", "teacher"))
    many = [f"{own[kind]:,} {kind}" for kind in ("words", "phrases") if kind in own]
    return ", ".join(
        [f"{ours} tokens of the student", f"{theirs} of the teacher", f"{own['trained']:,} trained", *many]
    )


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_models(parser, samples=100, teacher=BENCH / "teacher")
    parser.add_argument("--second-teacher", type=Path, help="folder of a teacher with another tokenizer")
    parser.add_argument("--pipeline", help="of spaCy: name or folder")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS), metavar="CONTENDER"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=list(CLOCKS), default="processor")
    return parser.parse_args(words)


def main() -> None:
    warnings.filterwarnings("ignore")  # of the libraries
    options = parse()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["STILLROOM_CACHE"] = folder  # where words and phrases are kept
        result = run(options, longest(options, Path(folder)))
    save(result, page(result), options.output, "span_step_cpu")
    print(page(result))


if __name__ == "__main__":
    main()
