"""Fine-tunes what `stillroom compare benchmarks/shd/babyllama.yaml` left behind on four tasks of GLUE: one table.

    python benchmarks/shd/babyllama_glue.py runs/babyllama --glue data/glue \\
        --results benchmarks/results/shd_babyllama.json

Every student is fine-tuned once on each task, from the seed that it was trained with; a student that was not trained
at all, from the same start, tells what pre-training was worth, and the commonest label what the task asks for.
Marks lie beside the runs in glue.json and are kept while the settings below stay as they are. SST-2 and MRPC decide
at this size; CoLA and RTE are reported.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically
from stillroom.evaluation.glue import fine_tune
from stillroom.numerics.paired_difference import paired_difference
from stillroom.recipe.load import load_recipe
from stillroom.recipe.models import load_student, load_tokenizer
from stillroom.report.markdown import markdown_table

Marks = dict[str, float]

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "sst2": ("accuracy", {"epochs": 3, "learning_rate": 1e-3, "limit": 1500}),
    "mrpc": ("f1", {"epochs": 3, "learning_rate": 1e-3, "limit": 1000}),
    "cola": ("matthews", {"epochs": 3, "learning_rate": 1e-3, "limit": 1100}),
    "rte": ("accuracy", {"epochs": 2, "learning_rate": 1e-3, "limit": 400}),
}
"""The mark that counts, and settings of `fine_tune`: so many training samples, all of the development set."""
TITLES = {"sst2": "SST-2 accuracy", "mrpc": "MRPC F1", "cola": "CoLA MCC", "rte": "RTE accuracy"}
UNTRAINED, MAJORITY = "not pre-trained", "commonest label"


def marks_of(model: Path, glue: Path, seed: int, kept: Path) -> dict[str, Marks]:
    """By task; those that lie in `kept` under the same settings are not made again."""
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for task, (_, settings) in TASKS.items():
        if known.get(task, {}).get("settings") == settings:
            continue
        start = time.process_time()
        marks = fine_tune(str(model), task, str(glue), seed=seed, **settings)
        known[task] = {"settings": settings, "marks": marks}
        write_text_atomically(kept, json.dumps(known, indent=1) + "\n")
        print(
            f"{kept.parent.name}: {task} {marks[TASKS[task][0]]:.3f}, {time.process_time() - start:.0f} s",
            flush=True,
        )
    return {task: known[task]["marks"] for task in TASKS}


def untrained(recipe: Path, seed: int, folder: Path) -> Path:
    """The student of a recipe as it was before its first step."""
    if not (folder / "model.safetensors").exists():
        choice = load_recipe(recipe).student
        load_student(choice, seed).save_pretrained(folder)
        load_tokenizer(choice.model, "student").save_pretrained(folder)
    return folder


def examine(runs: Path, glue: Path) -> tuple[dict[str, dict[int, Marks]], dict[str, Any]]:
    """Marks by variant and seed, held-out loss among them, and what `compare` found."""
    compared = json.loads((runs / "compare.json").read_text(encoding="utf-8"))
    recipes = sorted(runs.glob("*-seed*/recipe.yaml"))
    if not recipes:
        raise BadInput(f"{runs} holds no finished runs; run `stillroom compare` with --output {runs} first")
    rows: dict[str, dict[int, Marks]] = {}
    for seed in compared["seeds"]:
        start = untrained(recipes[0], seed, runs / f"untrained-{seed}")
        rows.setdefault(UNTRAINED, {})[seed] = flat(marks_of(start, glue, seed, start / "glue.json"))
        for name, variant in compared["variants"].items():
            run = next(each for each in variant["runs"] if each["seed"] == seed)
            folder = runs / f"{slug_of(name, runs, seed)}"
            marks = flat(marks_of(folder / "student", glue, seed, folder / "glue.json"))
            rows.setdefault(name, {})[seed] = {"loss": run["loss"], **marks}
    return rows, compared


def slug_of(name: str, runs: Path, seed: int) -> str:
    from stillroom.compare.schedule import slug

    return f"{slug(name)}-seed{seed}"


def flat(marks: Mapping[str, Marks]) -> Marks:
    """The mark of each task that counts, and what the commonest label gets there."""
    return {task: marks[task][mark] for task, (mark, _) in TASKS.items()} | {
        f"{task}/majority": marks[task][f"{mark}/majority"] for task, (mark, _) in TASKS.items()
    }


def content(
    rows: Mapping[str, Mapping[int, Marks]], compared: Mapping[str, Any], against: str
) -> dict[str, Any]:
    """Everything in the table, as plain values."""
    variants = {}
    for name, seeds in rows.items():
        found: dict[str, Any] = {"runs": {str(seed): marks for seed, marks in seeds.items()}, "marks": {}}
        for key in ("loss", *TASKS):
            values = {seed: marks[key] for seed, marks in seeds.items() if key in marks}
            if not values:
                continue
            base = {seed: marks[key] for seed, marks in rows[against].items()}
            difference = None
            if name != against:
                difference = paired_difference(values, base, lower_is_better=key == "loss")
            found["marks"][key] = {
                "mean": statistics.fmean(values.values()),
                "deviation": statistics.stdev(values.values()) if len(values) > 1 else 0.0,
                "difference": difference and vars(difference),
            }
        variants[name] = found
    some = next(iter(rows[against].values()))
    return {
        "about": compared["about"],
        "against": against,
        "seeds": compared["seeds"],
        "tasks": {task: {"mark": mark} | settings for task, (mark, settings) in TASKS.items()},
        "majority": {task: some[f"{task}/majority"] for task in TASKS},
        "variants": variants,
        "compare": {
            key: compared[key] for key in ("command", "versions", "processor", "data", "hashes", "marks")
        },
        "cost": {name: cost(each["runs"]) for name, each in compared["variants"].items()},
    }


def cost(runs: list[dict[str, Any]]) -> dict[str, float]:
    keys = ("tokens", "seconds", "teacher_kl")
    return {
        key: statistics.fmean(run[key] for run in runs) for key in keys if all(key in run for run in runs)
    }


def page(found: Mapping[str, Any], command: str) -> str:
    """The same for people."""
    against, tasks = found["against"], list(TASKS)
    heads = ["", "held-out loss", *(TITLES[task] for task in tasks)]
    rows: list[list[str]] = [[MAJORITY, "", *(f"{found['majority'][task]:.3f}" for task in tasks)]]
    for title, marks in (found["compare"]["marks"] or {}).items():
        if "loss" in marks:
            rows.append([title, f"{marks['loss']:.3f}", *([""] * len(tasks))])
    for name, variant in found["variants"].items():
        rows.append([name, *(spread(variant["marks"].get(key)) for key in ("loss", *tasks))])
    pairs = [
        [name, *(paired(variant["marks"].get(key)) for key in ("loss", *tasks))]
        for name, variant in found["variants"].items()
        if name != against
    ]
    settings = "; ".join(
        f"{TITLES[task]}: {each['epochs']} epochs over {each['limit']:,} drawn samples at {each['learning_rate']:g}"
        for task, each in found["tasks"].items()
    )
    costs = [
        [
            name,
            f"{each['tokens']:,.0f}",
            f"{each['seconds']:.0f}",
            f"{each.get('teacher_kl', float('nan')):.3f}",
        ]
        for name, each in found["cost"].items()
    ]
    return "\n".join(
        [
            f"# BabyLLaMA and squeezed heads, seeds {', '.join(map(str, found['seeds']))}",
            "",
            found["about"],
            "",
            f"`{command}`",
            "",
            "Held-out loss in nats a token; marks on the development sets. Mean ± standard deviation over the seeds.",
            "",
            markdown_table(heads, rows),
            "",
            f"Minus {against}, paired by seed: mean [95 % interval], seeds on which it is better:",
            "",
            markdown_table(heads, pairs),
            "",
            sensitive(found),
            "",
            "What pre-training took, mean of the seeds (seconds of a machine that others used, too):",
            "",
            markdown_table(["", "trained tokens", "seconds", "KL to the teachers"], costs),
            "",
            f"Fine-tuning: {settings}; batches of 32, no epoch chosen by its mark.",
            "",
        ]
    )


def sensitive(found: Mapping[str, Any]) -> str:
    """Whether the marks say anything about pre-training, in a sentence."""
    marks = found["variants"][UNTRAINED]["marks"]
    told = [TITLES[task] for task in TASKS if (marks[task]["difference"]["high"] or 0.0) < 0]
    if told:
        return f"Without pre-training the student is worse (95 % interval) in {', '.join(told)}, and in nothing else."
    return (
        f"On no task is the student that was not pre-trained worse than {found['against']} (95 % interval): at this "
        "size fine-tuning says nothing about pre-training, and only the held-out loss tells the variants apart."
    )


def spread(mark: Mapping[str, Any] | None) -> str:
    return "" if mark is None else f"{mark['mean']:.3f} ± {mark['deviation']:.3f}"


def paired(mark: Mapping[str, Any] | None) -> str:
    if mark is None or mark["difference"] is None:
        return ""
    each = mark["difference"]
    if each["low"] is None:
        return f"{each['mean']:+.3f}"
    return f"{each['mean']:+.3f} [{each['low']:+.3f}, {each['high']:+.3f}], {each['wins']}/{each['n']}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="folder that `stillroom compare` wrote")
    parser.add_argument("--glue", type=Path, required=True, help="folder with SST-2, MRPC, CoLA and RTE")
    parser.add_argument("--results", type=Path, required=True, help="JSON file; the page lies beside it")
    given = parser.parse_args(arguments)
    try:
        rows, compared = examine(given.runs, given.glue)
    except BadInput as error:
        sys.exit(f"error: {error}")
    found = content(rows, compared, compared["against"])
    command = "python benchmarks/shd/babyllama_glue.py runs/babyllama --glue FOLDER --results RESULTS"
    given.results.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(given.results, json.dumps({"command": command} | found, indent=1) + "\n")
    text = page(found, command)
    write_text_atomically(given.results.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
