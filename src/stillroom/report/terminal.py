"""The table of results for a terminal: the digits of the page, one column per model to fit 80 letters."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.report.markup import label
from stillroom.report.read import read_runs
from stillroom.report.results import COLUMNS, result_rows

if TYPE_CHECKING:
    from rich.table import Table


def summary_table(runs: Sequence[Path]) -> "Table":
    """Results of one or more run folders, to print with rich. Metrics without any value are left out.

    `BadInput` where a folder holds no run.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rows = result_rows(read_runs(runs))
    kept = [i for i, column in enumerate(COLUMNS) if any(column.key in row.values for row in rows)]
    table = Table(
        box=SIMPLE_HEAD, caption="bold: best student value; —: not measured", caption_justify="left"
    )
    table.add_column("", no_wrap=True)
    for row in rows:
        # Text, not str: square brackets in a name are no markup here
        table.add_column(Text(label(row.label, 40)), justify="right", overflow="fold")
    for i in kept:
        cells = [Text(row.cells[i].text, style="bold" if row.cells[i].best else "") for row in rows]
        table.add_row(
            f"{COLUMNS[i].title} ({COLUMNS[i].unit})" if COLUMNS[i].unit else COLUMNS[i].title, *cells
        )
    return table
