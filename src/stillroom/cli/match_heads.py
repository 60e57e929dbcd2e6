"""`stillroom match-heads`: which heads of a teacher become one, so that a student with fewer heads can follow them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillroom.cli.options import AsJson, Quiet, Sets

if TYPE_CHECKING:
    from stillroom.core.head_groups import HeadGroups


def match_heads(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML) with a student and a teacher.")],
    set_: Sets = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="File of the groups (default: head_groups.json beside the recipe)."),
    ] = None,
    batches: Annotated[int, typer.Option("--batches", min=1, help="Batches of training text.")] = 64,
    rows: Annotated[
        str, typer.Option("--rows", help="Queries that are compared: real (all tokens) or response.")
    ] = "real",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find the heads of a teacher that are alike, and keep on disk which of them shall become one."""
    from stillroom.core.head_groups import HEAD_GROUPS
    from stillroom.recipe.load import load_recipe

    settled = load_recipe(recipe, [*(set_ or ()), "teacher.use=live"])

    from stillroom.cli.display import display
    from stillroom.recipe.match_heads import write_groups

    path = output or recipe.parent / HEAD_GROUPS
    found = write_groups(settled, path, batches=batches, rows=rows, display=display(quiet or as_json))
    if as_json:
        print(path.read_text(encoding="utf-8"), end="")
    else:
        _show(found, path)


def _show(found: "HeadGroups", path: Path) -> None:
    for layer, groups in found.groups.items():
        merged = [group for group in groups if len(group) > 1]
        print(f"layer {layer}: {', '.join('+'.join(map(str, group)) for group in merged)}")
    print(
        f"{found.teacher_heads} heads become {found.student_heads} in {len(found.groups)} layers, by their likeness on "
        f"{found.samples:,} samples: {path}"
    )
    print(f"use it: {{use: attention.squeeze_heads, grouping: matched, groups: {path}}}")
