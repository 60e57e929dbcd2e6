"""Questions and answers from the documentation of the user's own Python: text that every user already has.

"What does `json.dumps(obj, ...)` do?" is answered by the docstring. Sources: the standard library, its
language reference (`pydoc_data.topics`) and a few installed packages, all read as text: nothing is imported
or executed. Whole modules are held out for evaluation (see `docs_split`); the language reference is always
for training. For one installation the result is always the same.
"""

import importlib.util
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.core.record import write_jsonl
from stillroom.data._docstrings import Documented, documented
from stillroom.data._topics import topic_pieces
from stillroom.data.docs_split import REFERENCE, is_held_out, part_of, stable_hash, without_repeats

DEFAULT_PACKAGES = (
    "accelerate",
    "datasets",
    "numpy",
    "pydantic",
    "rich",
    "torch.distributions",
    "torch.optim",
    "torch.utils.data",
    "transformers.generation",
    "typer",
)
_NOT_DOCUMENTATION = {
    *("test", "tests", "testing", "_test", "_pytest", "turtledemo", "__phello__"),
    *("_vendor", "vendored", "site-packages", "ensurepip", "lib-dynload", "__pycache__"),
    *("idlelib", "lib2to3", "pydoc_data", "encodings"),
}
_QUESTIONS = {
    "module": ("What is the module `{}` for?", "Describe the module `{}`."),
    "class": ("What is the class `{}`?", "Describe the class `{}`."),
    "function": ("What does the function `{}` do?", "Describe the function `{}`.", "What is `{}` for?"),
    "method": ("What does the method `{}` do?", "Describe the method `{}`.", "What is `{}` for?"),
}
_SHORTEST = 30


@dataclass(frozen=True)
class Harvest:
    """Rows of strings: `instruction`, `input` (empty), `output`, `module` (its part), `source` (package)."""

    train: list[dict[str, str]]
    evaluation: list[dict[str, str]]
    report: dict[str, Any] = field(default_factory=dict)
    """`train` and `evaluation`: pairs, characters, modules; `sources`: the same by package; and counts of
    `duplicates`, of `overlapping` held-out rows that were dropped, and of `unreadable` files."""


def harvest(
    *,
    packages: Sequence[str] = DEFAULT_PACKAGES,
    limit: int = 700,
    pairs_per_package: int = 1000,
    standard_library: Path | None = None,
) -> Harvest:
    """Read the documentation of this installation.

    `packages` are read beside the standard library where they are installed (dotted names: a sub-package),
    each cut after `pairs_per_package` pairs; an empty sequence is the standard library alone. `limit` bounds
    an answer, in characters. `standard_library` is the folder to read in place of this interpreter's.
    """
    if limit < _SHORTEST or pairs_per_package < 1:
        raise BadInput(
            f"expected a limit of at least {_SHORTEST} characters and at least one pair per package, got "
            f"limit={limit} and pairs_per_package={pairs_per_package}; use the defaults or larger numbers."
        )
    library = standard_library or Path(sysconfig.get_paths()["stdlib"])
    gathered = _Gathered()
    for title, number, piece in topic_pieces(library / "pydoc_data" / "topics.py", limit):
        gathered.add(_topic_question(title, number), piece, REFERENCE, REFERENCE)
    gathered.read(library, "", "standard library", limit, None)
    for package in sorted(packages):
        folder = _installed(package)
        if folder is not None:
            gathered.read(folder, package, package.partition(".")[0], limit, pairs_per_package)
    return _split(gathered)


def write_harvest(harvested: Harvest, folder: Path) -> tuple[Path, Path]:
    """Write `train.jsonl` and `eval.jsonl` and return their paths. Rows have `prompt`, `completion`, `module`
    and `source`, for the template "plain": the prompt holds the markers already."""
    paths = folder / "train.jsonl", folder / "eval.jsonl"
    for path, rows in zip(paths, (harvested.train, harvested.evaluation), strict=True):
        write_jsonl(path, (prompted(row) for row in rows))
    return paths


def prompted(row: dict[str, str]) -> dict[str, str]:
    """A row of `Harvest` as prompt and completion."""
    prompt = f"### Question:\n{row['instruction']}\n\n### Answer:\n"
    return {"prompt": prompt, "completion": row["output"], "module": row["module"], "source": row["source"]}


@dataclass
class _Gathered:
    rows: list[dict[str, str]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    duplicates: int = 0
    unreadable: int = 0

    def read(self, folder: Path, package: str, source: str, limit: int, most: int | None) -> None:
        """Add what the files under `folder` document, in sorted order, up to `most` pairs."""
        stop = None if most is None else len(self.rows) + most
        for path in _files(folder):
            names = (package, *path.relative_to(folder).with_suffix("").parts)
            module = ".".join(name for name in names if name not in ("", "__init__"))
            for item in self._documented(path, module, limit):
                if stop is not None and len(self.rows) >= stop:
                    return
                self.add(_question(item), item.text, part_of(module, package), source)

    def add(self, instruction: str, output: str, part: str, source: str) -> None:
        normal = re.sub(r"\W+", " ", output).strip().lower()
        if len(output) < _SHORTEST or normal in self.seen:
            self.duplicates += normal in self.seen
            return
        self.seen.add(normal)
        row = {"instruction": instruction, "input": "", "output": output, "module": part, "source": source}
        self.rows.append(row)

    def _documented(self, path: Path, module: str, limit: int) -> list[Documented]:
        try:
            return list(documented(path.read_text(encoding="utf-8"), module, limit))
        except (OSError, SyntaxError, ValueError, RecursionError):
            self.unreadable += 1  # files that are broken on purpose, in other encodings or of other versions
            return []


def _split(gathered: _Gathered) -> Harvest:
    # Shuffled, always alike: the first thousand rows are a fair sample of all.
    rows = sorted(gathered.rows, key=lambda row: stable_hash(row["instruction"] + row["output"]))
    train = [row for row in rows if not is_held_out(row["module"])]
    held_out = [row for row in rows if is_held_out(row["module"])]
    evaluation = without_repeats(held_out, train)
    report: dict[str, Any] = {"train": _sizes(train), "evaluation": _sizes(evaluation)}
    report["sources"] = {
        source: _sizes(row for row in [*train, *evaluation] if row["source"] == source)
        for source in sorted({row["source"] for row in rows})
    }
    report["duplicates"] = gathered.duplicates
    report["overlapping"] = len(held_out) - len(evaluation)
    report["unreadable"] = gathered.unreadable
    return Harvest(train, evaluation, report)


def _sizes(rows: Iterable[dict[str, str]]) -> dict[str, int]:
    rows = list(rows)
    characters = sum(len(row["output"]) for row in rows)
    return {"pairs": len(rows), "characters": characters, "modules": len({row["module"] for row in rows})}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        if not any(part in _NOT_DOCUMENTATION or part.startswith(("test_", "config-")) for part in parts):
            yield path


def _installed(package: str) -> Path | None:
    """The folder of a package, found without importing it."""
    first, *rest = package.split(".")
    found = importlib.util.find_spec(first)
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))).joinpath(*rest)
    return folder if folder.is_dir() else None


def _topic_question(title: str, number: int) -> str:
    subject = title.replace('"', "`")
    subject = subject[0].lower() + subject[1:] if subject.startswith("The ") else subject
    return f"Explain {subject} in Python." if number == 1 else f"Explain {subject} in Python, part {number}."


def _question(item: Documented) -> str:
    phrasings = _QUESTIONS[item.kind]
    return phrasings[stable_hash(item.name) % len(phrasings)].format(item.name + item.signature)
