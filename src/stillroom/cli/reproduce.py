"""`stillroom reproduce`: a paper's table at a size that fits, its figures beside ours."""

from pathlib import Path
from typing import Annotated

import typer

from stillroom.cli.options import AsJson, Sets
from stillroom.cli.typed import typed


def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(help="For example sharp/table6, or an experiment file; without one: the list."),
    ] = None,
    scale: Annotated[
        str, typer.Option("--scale", help="tiny: minutes on two cores; small; paper: the published setting.")
    ] = "tiny",
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder (default: runs/NAME-SCALE).")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trainings at a time.")] = 1,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Instead of the file's: how many (5), or which (10,20,30).")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="These variants and the paired one. Repeatable.")
    ] = None,
    set_: Sets = None,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="Exams may run what the models write.")
    ] = False,
    inside_container: Annotated[
        bool, typer.Option("--i-run-inside-a-container", help="Said together with the one above.")
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the file and do nothing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, and say what would run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a paper's experiment again and print its numbers beside ours. Without a name: what there is."""
    import json

    from stillroom.reproduce.catalog import catalog, find
    from stillroom.reproduce.listing import listing

    if name is None:
        entries = catalog()
        facts = [{"name": e.name, "kind": e.kind, "about": e.about, "minutes": e.minutes} for e in entries]
        print(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else listing(entries))
        return
    if show:
        print(find(name).path.read_text(encoding="utf-8"), end="")
        return

    import signal
    import sys

    from stillroom.compare.seeds import seeds_from
    from stillroom.reproduce.reproduce import prepare, preview
    from stillroom.reproduce.reproduce import reproduce as run

    experiment, folder = prepare(name, scale, output)
    known = experiment.comparison.get("seeds") or [10]
    chosen = () if seeds is None else seeds_from(seeds, known)
    if dry_run:
        print("\n".join(preview(name, scale, output, only or (), chosen, set_ or ())))
        return

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the runs end with what started them
    exam_words = ["--allow-code-execution"] * allow_code_execution
    exam_words += ["--i-run-inside-a-container"] * inside_container
    made = run(
        name,
        scale,
        output,
        jobs=jobs,
        seeds=chosen,
        sets=set_ or (),
        only=only or (),
        exam_words=exam_words,
        command=typed(sys.argv[1:]),
        say=say,
    )
    if as_json:
        print(json.dumps(made.content, indent=2, ensure_ascii=False))
    elif made.text:
        print(f"{made.text}\n{folder / 'compare'}.json, .csv, .md and .html")
    if made.exit != "done":
        raise typer.Exit(130 if made.exit == "stopped" else 1)
