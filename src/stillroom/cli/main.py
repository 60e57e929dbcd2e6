"""The verbs: quickstart, distill, compare, check, preflight, cache, evaluate, inspect, align, match-heads, report,
reproduce, search, list.

Exit codes: 0 done, 1 failed while running, 2 bad input (one sentence, no traceback), 130 stopped by the user.
Nothing heavy is imported until a verb needs it.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from stillroom import __version__
from stillroom.cli.align import align
from stillroom.cli.compare import compare
from stillroom.cli.evaluate import evaluate
from stillroom.cli.match_heads import match_heads
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
from stillroom.cli.preflight import preflight
from stillroom.cli.reproduce import reproduce
from stillroom.cli.search import search
from stillroom.core.errors import BadInput

app = typer.Typer(
    name="stillroom",
    help="Distil large language models into small ones, every method side by side.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def distill(
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
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the output folder.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Distil a teacher into a student: a recipe, flags, or both."""
    from stillroom.recipe.load import load_recipe

    flags = recipe_flags(student, teacher, data, eval_, objective, output, max_steps, seed)
    settled = load_recipe(recipe, set_ or (), flags)

    from stillroom.api import run
    from stillroom.cli.display import display
    from stillroom.recipe.folder import is_main_process

    summary = run(settled, resume=resume, overwrite=overwrite, display=display(quiet))
    if is_main_process():
        _show_runs([Path(settled.output)], as_json)
    if summary.exit == "stopped":
        _say(f"stopped at step {summary.steps}; go on with --resume")
        raise typer.Exit(130)


@app.command()
def check(
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
    as_json: AsJson = False,
) -> None:
    """Read a recipe and its data, and say what it would do, without loading weights."""
    from stillroom.recipe.load import load_recipe

    settled = load_recipe(
        recipe, set_ or (), recipe_flags(student, teacher, data, eval_, objective, output, max_steps, seed)
    )

    from stillroom.cli.display import display
    from stillroom.recipe.prepare import prepare
    from stillroom.recipe.run import training_arguments

    training_arguments(settled)
    prepared = prepare(settled, display(quiet=as_json))
    facts = {
        "parameters": prepared.sizes,
        "vocabulary": prepared.vocab_size,
        "data": prepared.data,
        "objectives": settled.objective_names,
        "notes": prepared.notes,
    }
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for role, size in prepared.sizes.items():
        print(f"{role}: {size / 1e6:,.1f} M parameters")
    for split, counted in prepared.data.items():
        print(
            f"{split}: {counted['samples']:,} samples, {counted['response_tokens']:,} response tokens, "
            f"{counted['cut_prompts']:,} prompts and {counted['cut_responses']:,} responses cut"
        )
    print(f"objectives: {', '.join(settled.objective_names)}")
    for note in prepared.notes:
        print(f"note: {note}")
    print("the recipe is sound")


@app.command()
def cache(
    recipe: RecipeFile = None,
    set_: Sets = None,
    output: Annotated[
        str | None, typer.Option("--output", help="Folder of the cache (default: teacher.cache).")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Compute damaged or missing shards anew.")] = False,
    precision: Annotated[
        str, typer.Option("--precision", help="Stored as: auto, float32, bfloat16 or float16.")
    ] = "auto",
    shard_mb: Annotated[int, typer.Option("--shard-mb", min=1, help="Size of a shard in MB.")] = 64,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Samples the teacher reads at once.")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Keep on disk what the objectives of a recipe read of its teacher. A stopped cache goes on where it stopped."""
    from stillroom.recipe.load import load_recipe

    settled = load_recipe(recipe, [*(set_ or ()), "teacher.use=live"])

    from dataclasses import asdict

    from stillroom.cli.display import display
    from stillroom.recipe.cache import write_cache

    written = write_cache(
        settled,
        output,
        precision=precision,
        shard_bytes=shard_mb * 10**6,
        batch_size=batch_size,
        repair=repair,
        display=display(quiet or as_json),
    )
    if as_json:
        print(json.dumps(asdict(written), indent=2))
        return
    print(
        f"{written.samples:,} samples, {written.tokens:,} tokens, {written.bytes / 1e6:,.1f} MB "
        f"({written.bytes_per_token:,.0f} bytes a token), {written.computed:,} samples computed now"
    )
    print(f"train from it: --set teacher.use=cached --set teacher.cache={written.folder}")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; the first one is the main one.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="The page (default: report.html there).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about one or more runs, and print their table."""
    from stillroom.core.record import REPORT
    from stillroom.report.page import write_report

    page = write_report(runs, output or runs[0] / REPORT)
    _show_runs(runs, as_json, page)


@app.command()
def inspect(
    target: Annotated[Path, typer.Argument(help="A run folder, or a recipe that has not been run.")],
    only: Annotated[
        str | None,
        typer.Option("--only", help="Some of interference,features,heads,landscape (commas between)."),
    ] = None,
    batches: Annotated[int, typer.Option("--batches", min=1, help="Training batches for gradients.")] = 16,
    samples: Annotated[
        int, typer.Option("--samples", min=2, help="Samples for features, shares of heads and losses.")
    ] = 256,
    points: Annotated[int, typer.Option("--points", help="Points along a line of the landscape, odd.")] = 51,
    directions: Annotated[int, typer.Option("--directions", min=1, help="Random lines.")] = 3,
    against: Annotated[
        Path | None, typer.Option("--against", help="Run whose final held-out loss is to be reached.")
    ] = None,
    reach: Annotated[
        float | None, typer.Option("--reach", help="Held-out loss to be reached, instead of --against.")
    ] = None,
    sentence: Annotated[
        str | None,
        typer.Option(
            "--sentence", help="Text for maps of merged heads (default: a held-out one).", metavar="TEXT"
        ),
    ] = None,
    layer: Annotated[
        list[int] | None, typer.Option("--layer", help="Student layer whose maps are shown. Repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write (default: inspection.json in the run).")
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Look inside a training: gradients against each other, features, merged heads, the loss around the student."""
    from stillroom.api import inspect as look
    from stillroom.cli.display import display

    path = look(
        target,
        only=[each.strip() for each in only.split(",")] if only else (),
        batches=batches,
        samples=samples,
        points=points,
        directions=directions,
        against=against,
        reach=reach,
        sentence=sentence,
        layers=layer or (),
        output=output,
        display=display(quiet or as_json),
    )
    if as_json:
        print(path.read_text(encoding="utf-8"))
        return
    from rich.console import Console

    from stillroom.report.inspection_terminal import inspection_tables

    for part in inspection_tables(path):
        Console().print(part)
    print(f"inspection  {path}")


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="One objective, to see its settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the objectives, or the settings of one."""
    from stillroom import objectives

    if name is None:
        rows = {each: objectives.summary(each) for each in objectives.names()}
        print(
            json.dumps(rows, indent=2) if as_json else "\n".join(f"{n:<26}{text}" for n, text in rows.items())
        )
        return
    settings = [
        {"name": each.name, "type": each.type, "default": each.default, "about": each.doc}
        for each in objectives.settings(name)
    ]
    if as_json:
        print(json.dumps(settings, indent=2, default=str))
        return
    print(objectives.summary(name))
    for each in settings:
        print(f"  {each['name']}: {each['type']} = {each['default']}\n      {each['about']}")


@app.command()
def quickstart(
    output: Annotated[Path, typer.Option("--output", help="Folder for the runs and the report.")] = Path(
        "runs/quickstart"
    ),
    steps: Annotated[int | None, typer.Option("--steps", help="Optimizer steps of each training.")] = None,
    train_teacher: Annotated[
        bool, typer.Option("--train-teacher", help="Build the small teacher anew first (half an hour).")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Distil the small teacher that comes along, on the documentation of your own Python. About three minutes."""
    from stillroom.cli.display import display
    from stillroom.quickstart import run_quickstart

    runs, page = run_quickstart(output, steps=steps, train_teacher=train_teacher, display=display(quiet))
    _show_runs(runs, as_json, page)


for verb in (align, compare, preflight, evaluate, match_heads, reproduce, search):
    app.command()(verb)


def _show_runs(runs: list[Path], as_json: bool, page: Path | None = None) -> None:
    """The table of results and where things lie."""
    from stillroom.core.record import REPORT, STUDENT, read_summary

    page = page or runs[0] / REPORT
    if as_json:
        from dataclasses import asdict

        rows = [{"folder": str(run), "report": str(page), **asdict(read_summary(run))} for run in runs]
        print(json.dumps(rows if len(rows) > 1 else rows[0], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from stillroom.report.terminal import summary_table

    Console().print(summary_table(runs))
    print(f"student  {runs[0] / STUDENT}")
    print(f"report   {page}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def run() -> None:
    """Entry point: what a person can mend is a sentence, never a traceback."""
    sys.path.append(
        str(Path.cwd())
    )  # one's own objectives lie beside one's recipe; a script would not look there
    try:
        app(standalone_mode=True)
    except BadInput as error:
        _say(f"error: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        _say("stopped")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except RuntimeError as error:
        if type(error).__name__ != "NonFiniteLoss":  # named, not imported: torch is heavy
            raise
        _say(f"error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    run()
