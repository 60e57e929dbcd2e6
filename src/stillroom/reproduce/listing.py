"""What `stillroom reproduce` lists: a line each, and what the scales take on two cores."""

from collections.abc import Sequence

from stillroom.reproduce.catalog import Entry
from stillroom.reproduce.experiment import SCALES

_HEADS = {
    "experiment": "Experiments, and minutes of tiny and small on two cores (stillroom reproduce NAME --scale tiny):",
    "search": "Searches (stillroom search NAME):",
    "recipe": "Recipes (stillroom reproduce NAME --show > recipe.yaml, then stillroom distill recipe.yaml):",
}
_LONGEST = 150


def listing(entries: Sequence[Entry]) -> str:
    """Plain text."""
    parts = []
    for kind, head in _HEADS.items():
        rows = [entry for entry in entries if entry.kind == kind]
        if rows:
            parts.append("\n".join([head, *(_line(entry) for entry in rows)]))
    return "\n\n".join(parts)


def _line(entry: Entry) -> str:
    about = entry.about if len(entry.about) <= _LONGEST else entry.about[: _LONGEST - 1].rstrip() + "…"
    if entry.kind != "experiment":
        return f"  {entry.name:<26}{about}"
    minutes = ", ".join(f"{scale} {entry.minutes[scale]:g}" for scale in SCALES if scale in entry.minutes)
    return f"  {entry.name:<26}{minutes or 'paper only':<20}{about}"
