"""Which experiments come with the package: a file under `papers/PAPER/` is one, and nothing else has to be written.

A file with `variants` or `like` is an experiment, one with `space` is for `stillroom search`, any other is a recipe.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.recipe import strict_yaml
from stillroom.recipe.problems import nearest


@dataclass(frozen=True)
class Entry:
    """`kind` is "experiment", "search" or "recipe"; `minutes` is what a scale takes on two cores."""

    name: str
    path: Path
    kind: str
    about: str
    minutes: Mapping[str, float]


def catalog() -> list[Entry]:
    """Everything under `papers/`, by name: sharp/table6."""
    home = _home()
    return [_entry(path, home) for path in sorted(home.glob("*/*.yaml"))]


def find(name: str) -> Entry:
    """`sharp/table6` or the path of a file; `BadInput` names what is close."""
    entries = catalog()
    found = next((entry for entry in entries if entry.name == name.removesuffix(".yaml")), None)
    if found is not None:
        return found
    path = Path(name)
    if path.is_file():
        return _entry(path.resolve(), path.resolve().parent.parent)
    hint = nearest(name, [entry.name for entry in entries]) or "; `stillroom reproduce` lists all"
    raise BadInput(f"{name}: no such experiment{hint}")


def _home() -> Path:
    return Path(str(files("stillroom") / "papers"))


def _entry(path: Path, home: Path) -> Entry:
    values = strict_yaml.read(path).values
    if not isinstance(values, dict):
        raise BadInput(f"{path}: expected keys such as about: and variants: at the top")
    kinds = {"experiment": values.keys() & {"variants", "like"}, "search": values.keys() & {"space"}}
    kind = next((kind for kind, keys in kinds.items() if keys), "recipe")
    about = " ".join(str(values.get("about") or _first_comment(path)).split())
    name = path.relative_to(home).with_suffix("").as_posix()
    return Entry(name, path, kind, about, _minutes(values))


def _minutes(values: Mapping[str, Any]) -> dict[str, float]:
    given = values.get("minutes")
    return dict(given) if isinstance(given, dict) else {}


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8") as lines:
        return next(lines, "").lstrip("# ").strip()
