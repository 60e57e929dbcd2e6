"""A table as Markdown, from anybody's words."""

from collections.abc import Sequence

from stillroom.report.markup import clean


def markdown_table(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """The first column holds names, the others numbers. A bar or a line break in a name does not end its cell."""
    lines = [_row(heads), "|---|" + "--:|" * (len(heads) - 1)]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(" ".join(clean(str(cell)).split()).replace("|", "\\|") for cell in cells) + " |"
