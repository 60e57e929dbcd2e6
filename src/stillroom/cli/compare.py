"""`stillroom compare`: objectives on one recipe, or the variants of a comparison file, over several seeds."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillroom.cli.options import AsJson, Quiet, Sets
from stillroom.cli.typed import typed
from stillroom.core.errors import BadInput

if TYPE_CHECKING:
    from stillroom.compare.compare import Outcome
    from stillroom.compare.plan import Plan

Words = list[str] | None


def compare(
    recipe: Annotated[Path, typer.Argument(help="A recipe, or a comparison file (it has the key variants).")],
    objectives: Annotated[
        str | None,
        typer.Option("--objectives", help="With a recipe: a,b are two variants, a+b is one with both."),
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="How many (5), or which (10,20,30).")] = None,
    set_: Sets = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Runs at a time.")] = 1,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the runs and results (default: runs/NAME).")
    ] = None,
    learning_rates: Annotated[
        str | None,
        typer.Option("--learning-rates", help="Tried for each variant on the first seed: 1e-4,3e-4."),
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="The variant that the others are paired with.")
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", help="Exam after training: dolly, or self_inst=PATH. Repeatable."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Of the exams: clean or minillm.")
    ] = None,
    test_limit: Annotated[
        int | None, typer.Option("--test-limit", min=1, help="Questions of an exam at most.")
    ] = None,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="Exams may run what the models write.")
    ] = False,
    inside_container: Annotated[
        bool, typer.Option("--i-run-inside-a-container", help="Said together with the one above.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this variant and the paired one. Repeatable.")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", help="Of a comparison file: small, tiny or paper.")
    ] = "small",
    results: Annotated[
        Path | None, typer.Option("--results", help="JSON file (default: compare.json in --output).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and say what would be run.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train several objectives from the same start on the same data, over several seeds, and compare them fairly."""
    from stillroom.compare.schedule import schedule

    plan = _plan(recipe, size, objectives, seeds, learning_rates, against, test, protocol, test_limit)
    output = output or Path("runs") / (recipe.stem + ("" if size == "small" else f"-{size}"))
    wanted = schedule(plan, output, only or (), (), set_ or ())
    if dry_run:
        from stillroom.compare.preview import preview

        print("\n".join(preview(wanted)))
        return

    from rich.console import Console

    from stillroom.compare.compare import plain, run_comparison

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the runs end with a comparison that is ended
    exam_words = ["--allow-code-execution"] * allow_code_execution
    exam_words += ["--i-run-inside-a-container"] * inside_container
    settings: dict[str, Any] = {
        "jobs": jobs,
        "only": only or (),
        "sets": set_ or (),
        "results": results,
        "command": typed(sys.argv[1:]),
        "exam_words": exam_words,
    }
    console = Console(stderr=True)
    if console.is_terminal and not quiet:
        from stillroom.compare.live import LiveTable

        with LiveTable(wanted, console) as shown:
            outcome = run_comparison(plan, output, **settings, say=shown.say, look=shown)
    else:
        say = (lambda text: None) if quiet else plain
        outcome = run_comparison(plan, output, **settings, say=say)
    _show(outcome, as_json)


def _plan(
    recipe: Path,
    size: str,
    objectives: str | None,
    seeds: str | None,
    learning_rates: str | None,
    against: str | None,
    test: Words,
    protocol: str | None,
    test_limit: int | None,
) -> "Plan":
    """The comparison that was typed, whichever of the two forms it has."""
    from stillroom.compare.from_recipe import plan_from_objectives
    from stillroom.compare.plan import read_plan, settled
    from stillroom.compare.seeds import seeds_from
    from stillroom.compare.words import exams_from, rates_from
    from stillroom.recipe import strict_yaml

    rates = None if learning_rates is None else rates_from(learning_rates)
    values = strict_yaml.read(recipe).values
    if not isinstance(values, dict):
        raise BadInput(f"{recipe}: expected a recipe (student:, data:, ...) or a comparison file (variants:)")
    if "variants" in values:
        if objectives is not None:
            raise BadInput(f"--objectives: {recipe} is a comparison file and names its variants; use --only")
        plan = read_plan(recipe, size)
        changes = {
            "against": against,
            "rates": rates,
            "test": exams_from(test, protocol, test_limit, plan.test),
        }
        plan = settled(plan.model_copy(update={k: v for k, v in changes.items() if v is not None}))
    elif objectives is None or size != "small":
        missing = "--objectives: say which to compare" if objectives is None else f"--size {size}"
        raise BadInput(f"{missing}; {recipe} is a recipe, and only a comparison file (variants:) says that")
    else:
        plan = plan_from_objectives(
            values,
            objectives.split(","),
            [int(values.get("seed", 10))],
            rates=rates or (),
            test=exams_from(test, protocol, test_limit, None),
            against=against or "",
        )
        seeds = seeds or "3"
    return plan if seeds is None else plan.model_copy(update={"seeds": seeds_from(seeds, plan.seeds)})


def _show(outcome: "Outcome", as_json: bool) -> None:
    if outcome.content:
        from stillroom.compare.table import table

        if as_json:
            print(json.dumps(outcome.content, indent=1, ensure_ascii=False))
        else:
            print(f"{table(outcome.content)}\n{outcome.path}, .csv, .md and .html", flush=True)
    if outcome.exit != "done":
        raise typer.Exit(130 if outcome.exit == "stopped" else 1)
