"""`stillroom preflight`: is the teacher a teacher, and will the training fit? Asked before anything is trained."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from stillroom.cli.options import (
    AsJson,
    DataName,
    EvalName,
    MaxSteps,
    Objectives,
    Output,
    Quiet,
    RecipeFile,
    Seed,
    Sets,
    StudentName,
    TeacherName,
    recipe_flags,
)

if TYPE_CHECKING:
    from stillroom.recipe.forecast import Forecast
    from stillroom.recipe.readiness import Preflight

WORDS = {"ok": "ok", "note": "note", "refused": "REFUSED", "unknown": "-"}


def preflight(
    recipe: RecipeFile = None,
    set_: Sets = None,
    student: StudentName = None,
    teacher: TeacherName = None,
    data: DataName = None,
    eval_: EvalName = None,
    objective: Objectives = None,
    output: Output = None,
    max_steps: MaxSteps = None,
    seed: Seed = None,
    batches: Annotated[
        int, typer.Option("--batches", min=1, max=8, help="Batches of 16 samples that are asked about.")
    ] = 2,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Ask in seconds whether the teacher is one, and what the training will take."""
    from stillroom.recipe.load import load_recipe

    flags = recipe_flags(student, teacher, data, eval_, objective, output, max_steps, seed)
    settled = load_recipe(recipe, set_ or (), flags)

    from stillroom.cli.display import display
    from stillroom.recipe.preflight import preflight as examine

    found = examine(settled, display(quiet or as_json), batches=batches)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    found.require()


def _show(found: "Preflight") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("Check", "Found", "Verdict", box=None, pad_edge=False)
    for each in found.verdicts:
        table.add_row(each.check, each.value, WORDS[each.outcome])
    Console().print(table)
    for line in _forecast(found.forecast):
        print(line)
    for note in found.notes:
        print(f"note: {note}")
    if not found.refusals:
        print("ready to train")


def _forecast(forecast: "Forecast") -> list[str]:
    """Memory term by term, and time."""
    parts = ", ".join(f"{name} {size / 2**20:,.0f} MiB" for name, size in forecast.terms.items() if size)
    lines = [
        "",
        f"memory: about {forecast.peak / 2**20:,.0f} of {forecast.available / 2**20:,.0f} MiB ({parts})",
    ]
    if forecast.seconds is not None:
        lines.append(
            f"time: about {_duration(forecast.seconds)}, {forecast.steps:,} steps of {forecast.step_seconds:.3g} s, "
            "updates and evaluations not counted"
        )
    return lines


def _duration(seconds: float) -> str:
    for size, word in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds:.0f} seconds"
