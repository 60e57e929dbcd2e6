"""What cross-model attention looks at, and what DSKD's projected teacher says, before and after a training.

    stillroom compare benchmarks/dolly/two_tokenizers.yaml --output runs/dolly-two-tokenizers
    python benchmarks/dskd/after_training.py runs/dolly-two-tokenizers/*-seed10

Of the runs given, those of `dual_space.cross_model_attention`, `dwa_kd` and `dskd` with a student's space are measured,
on held-out text, one CPU thread. `--student` and `--teacher` say where the models of the recipes lie, if not there any
more. Writes results/dskd_after_training.json and .md.
"""

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from findings import Finding, Found, write

from dskd import attended, projected_teacher
from dskd.models import DOLLY
from dskd.two_models import Row, open_models
from stillroom.objectives.dual_space.cross_model_attention import CrossModelAttention
from stillroom.objectives.dual_space.dskd import DSKD
from stillroom.recipe.load import load_recipe
from stillroom.recipe.places import load_end
from stillroom.recipe.schema import Recipe


def recipe_of(run: Path, options: argparse.Namespace) -> Recipe:
    """That of the run, on held-out text."""
    changes = {
        "data.train": options.text,
        "data.limit": options.samples,
        "data.eval": "null",
        "data.eval_limit": "null",
        "evaluation.metrics": "[]",
        "training.per_device_train_batch_size": 1,
        "training.eval_strategy": "'no'",
    }
    changes |= {
        f"{role}.model": getattr(options, role) for role in ("student", "teacher") if getattr(options, role)
    }
    return load_recipe(run / "recipe.yaml", [f"{key}={value}" for key, value in changes.items()])


def measured(run: Path, options: argparse.Namespace, rows: dict[str, list[Row]]) -> None:
    """Before and after the training of one run, into the tables that its objectives belong to."""
    recipe = recipe_of(run, options)
    wanted = [each.use for each in recipe.objectives]
    if not any(
        use in ("dual_space.cross_model_attention", "dual_space.dwa_kd", "dual_space.dskd") for use in wanted
    ):
        return
    models = open_models(recipe)
    for moment in ("before", "after"):
        if moment == "after":
            load_end(models.built.pair, recipe, run)
        answers = list(models.answers())
        for objective in models.built.pair.objectives.values():
            name = f"{run.name.rpartition('-')[0]}, {moment}"
            match objective:
                case CrossModelAttention():
                    rows["attention"].append(attended.measure(models, objective, answers, name))
                case DSKD(space="both" | "student"):
                    rows["projected"].append(projected_teacher.measure(models, objective, answers, name))
        print(run.name, moment, flush=True)


def attention(rows: list[Row]) -> Finding:
    before, after = rows[:2]
    return Finding(
        "attention",
        "Cross-model attention aligns the tokens of two vocabularies by itself (version 1, abstract)",
        "holds" if after["largest on the aligned"] > 0.5 else "false",
        f"Of the student's positions that have an aligned one, the largest attention lies on it for "
        f"{before['largest on the aligned']:.1%} before the training and {after['largest on the aligned']:.1%} after "
        f"(one of all positions at random {after['chance']:.1%}, the place as far into the response "
        f"{after['as far in']:.1%}); {after['attention on the aligned']:.1%} of the attention is there. It lies "
        f"on some position with the same next token for {after['largest on the same next token']:.1%}. What is brought "
        f"over says the student's next token at {after['projected teacher says the next token']:.1%} of positions "
        f"({after['nats']:.2f} nats).",
        {"table": rows},
    )


def projected(rows: list[Row]) -> Finding:
    before, after = rows[:2]
    apart = [each["KL(teacher, projected)"] for each in (before, after)]
    return Finding(
        "projected teacher",
        "The projection's error is less harmful than two output spaces (summary)",
        "holds in part",
        f"What the student's space teaches is not the teacher: KL from the teacher to its projection is "
        f"{apart[0]:.2f} nats before the training and {apart[1]:.2f} after; to the student itself "
        f"{before['KL(teacher, student)']:.2f} and "
        f"{after['KL(teacher, student)']:.2f}. Of the text's next outcome the teacher has "
        f"{after['next token, teacher']:.2f} nats, its projection {before['next token, projected']:.2f} and then "
        f"{after['next token, projected']:.2f}, the student {before['next token, student']:.2f} and then "
        f"{after['next token, student']:.2f}.",
        {"table": rows},
    )


FINDINGS: dict[str, Callable[[list[Row]], Finding]] = {"attention": attention, "projected": projected}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs")
    for role in ("student", "teacher"):
        parser.add_argument(f"--{role}", help="folder of the model, in the place of the recipe's")
    parser.add_argument("--text", type=Path, default=DOLLY / "minillm_dev.jsonl")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    rows: dict[str, list[Row]] = {name: [] for name in FINDINGS}
    for run in options.runs:
        measured(run, options, rows)
    found: Found = {"Before and after": [FINDINGS[name](some) for name, some in rows.items() if some]}
    write(
        found,
        options.output / "dskd_after_training",
        title="What is taught before and after a training",
        command=shlex.join(["python", *sys.argv]),
        about=f"Runs of `dolly/two_tokenizers.yaml`, {options.samples} held-out samples, positions with the same bytes "
        "before them, temperature 1. Of DSKD: divergences and nats are those of outcomes that both vocabularies have "
        "(a token with all longer ones that begin with it), but for KL(projected, student), which is over the "
        "student's tokens. One CPU thread.",
    )


if __name__ == "__main__":
    main()
