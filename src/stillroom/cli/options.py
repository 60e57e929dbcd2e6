"""Arguments and options that several verbs share, each said once."""

from pathlib import Path
from typing import Annotated, Any

import typer

RecipeFile = Annotated[
    Path | None, typer.Argument(help="A recipe (YAML). Without one, flags alone make the recipe.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one key, for example training.max_steps=100. Repeatable."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
StudentName = Annotated[
    str | None, typer.Option("--student", help="Model that learns: a folder or a Hub name.")
]
TeacherName = Annotated[str | None, typer.Option("--teacher", help="Model that is learned from.")]
DataName = Annotated[str | None, typer.Option("--data", help="JSONL, JSON, Parquet or a Hub name.")]
EvalName = Annotated[str | None, typer.Option("--eval", help="Held-out text in the same forms.")]
Objectives = Annotated[
    list[str] | None,
    typer.Option("--objective", help="For example logits.forward_kl; `stillroom list` shows all."),
]
Output = Annotated[str | None, typer.Option("--output", help="Folder that the run writes.")]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", help="Optimizer steps.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Start of all random numbers.")]


def recipe_flags(
    student: str | None,
    teacher: str | None,
    data: str | None,
    eval_: str | None,
    objective: list[str] | None,
    output: str | None,
    max_steps: int | None,
    seed: int | None,
) -> dict[str, Any]:
    """The options above as `load_recipe` takes them."""
    return {
        "student": student,
        "teacher": teacher,
        "data": data,
        "eval": eval_,
        "objective": objective,
        "output": output,
        "max_steps": max_steps,
        "seed": seed,
    }
