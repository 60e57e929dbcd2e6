"""`stillroom search`: settings of a recipe, chosen on held-out text."""

from pathlib import Path
from typing import Annotated

import typer

from stillroom.cli.options import AsJson, Sets
from stillroom.cli.typed import typed


def search(
    file: Annotated[
        str, typer.Argument(help="A space file, a recipe with --space, or a name such as sharp/search_grid.")
    ],
    space: Annotated[
        list[str] | None,
        typer.Option("--space", help="'KEY={log: [1e-5, 1e-3]}', or uniform, int, choice. Repeatable."),
    ] = None,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Trainings in all (20).")] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="loss, perplexity, bits_per_byte, teacher_kl, agreement or rouge_l."),
    ] = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="tpe, random or grid.")] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Of the sampler and of every trial (10).")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="Folder (default: runs/NAME).")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trials at a time.")] = 1,
    set_: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Search settings of a recipe on its held-out text. The same command goes on with a search that was stopped."""
    import json
    import signal
    import sys

    from stillroom.search.search import BEST
    from stillroom.search.search import search as run
    from stillroom.search.space import read_space
    from stillroom.search.table import search_table

    path = _path(file)
    flags = {"trials": trials, "metric": metric, "sampler": sampler, "seed": seed}
    settled = read_space(path, space or (), flags)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the trials end with the search
    folder = output or Path("runs") / path.stem
    found = run(settled, folder, jobs=jobs, sets=set_ or (), command=typed(sys.argv[1:]), say=say)
    print(json.dumps(found.content, indent=2, ensure_ascii=False) if as_json else search_table(found.content))
    if not as_json and found.content["best"]:
        print(f"best    stillroom distill {folder / BEST}\npage    {folder / 'search.html'}")
    if found.exit != "done":
        raise typer.Exit(130 if found.exit == "stopped" else 1)


def _path(file: str) -> Path:
    """A file, or the space file of a paper that comes with the package."""
    from stillroom.reproduce.catalog import find

    return Path(file) if Path(file).is_file() else find(file).path
