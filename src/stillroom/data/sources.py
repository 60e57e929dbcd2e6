"""From a path or a Hub name to records, with the place of every record and the hash of the source.

Files: JSON lines (`.jsonl`, `.ndjson`), JSON (`.json`: a list of objects, `{"data": [...]}`, or JSON lines
under that name) and Parquet (`.parquet`). Anything else is a data set of the Hugging Face Hub, "owner/name"
or "owner/name:config". What columns mean is decided in `columns`.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, overload

from stillroom.core.errors import BadInput
from stillroom.data.jsonl import BYTE_ORDER_MARK, decode, read_json_lines

OnBadRecord = Literal["refuse", "skip"]
Row = dict[str, Any]
Placed = tuple[str, Row | BadInput]
"""Where a record is, and the record or what is wrong with it."""

MAX_RECORD_BYTES = 64 * 2**20
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True)
class Records(Sequence[Row]):
    """What a source holds, in its order."""

    source: str
    """The path, or the Hub name with its split."""
    sha256: str
    """Of the file's bytes; of the rows as JSON where the source is no single file."""
    rows: list[Row]
    places: list[str]
    """Where a person finds each row: file:line, or file and the record's position counted from 0."""
    skipped: list[str] = field(default_factory=list)
    """One sentence for each record that was left out."""

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)


def read_records(
    source: str | Path,
    split: str = "train",
    on_bad_record: OnBadRecord = "refuse",
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Records:
    """All records of a file or of one split of a Hub data set (a file has no splits).

    `on_bad_record="skip"` leaves out the records that cannot be read and lists them in `Records.skipped`.
    `BadInput` where the source cannot be found or read, holds no record, or holds a bad one and
    `on_bad_record` is "refuse".
    """
    path = Path(source).expanduser()
    if not path.exists() and not looks_like_path(str(source)):
        return _from_hub(str(source), split)
    _check_file(path)
    readers = {".parquet": _parquet, ".json": _json}
    try:
        placed = readers.get(path.suffix.lower(), read_json_lines)(path, max_record_bytes)
        rows, places, skipped = _collect(placed, on_bad_record)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error}); check the file.") from error
    if not rows:
        left_out = f" ({len(skipped)} unusable ones were left out)" if skipped else ""
        raise BadInput(f"{path} holds no records{left_out}; expected at least one object with text in it.")
    return Records(str(source), digest, rows, places, skipped)


def _collect(placed: Iterator[Placed], on_bad_record: OnBadRecord) -> tuple[list[Row], list[str], list[str]]:
    rows, places, skipped = [], [], []
    for place, row in placed:
        if not isinstance(row, BadInput):
            rows.append(row)
            places.append(place)
        elif on_bad_record == "refuse":
            raise row
        else:
            skipped.append(str(row))
    return rows, places, skipped


def _json(path: Path, max_record_bytes: int) -> Iterator[Placed]:
    """The objects of a JSON file. Broken syntax is raised, not yielded: nothing can be skipped there."""
    content = path.read_bytes()
    start = len(BYTE_ORDER_MARK) if content.startswith(BYTE_ORDER_MARK) else 0
    text = decode(str(path), start, content[start:])
    try:
        value = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from read_json_lines(path, max_record_bytes)  # JSON lines are often saved as .json
            return
        offset = start + len(text[: error.pos].encode())
        raise BadInput(
            f"{path}:{error.lineno}: broken JSON at byte offset {offset}: {error.msg}; mend the file, or "
            "fetch it again if it is truncated."
        ) from error
    except RecursionError as error:
        raise BadInput(f"{path}: the JSON is nested too deeply; a record holds text, not trees.") from error
    rows = value.get("data") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        keys = f" with the keys {', '.join(map(repr, value))}" if isinstance(value, dict) else ""
        kind = type(value).__name__
        raise BadInput(f'{path}: expected a list of objects or {{"data": [...]}}, got a {kind}{keys}.')
    yield from _checked(path, rows, max_record_bytes)


def _parquet(path: Path, max_record_bytes: int) -> Iterator[Placed]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path} cannot be read as Parquet ({reason}); write or fetch it again.") from error
    yield from _checked(path, rows, max_record_bytes)


def _checked(path: Path, rows: list[Any], max_record_bytes: int) -> Iterator[Placed]:
    for index, row in enumerate(rows):
        place = f"{path}, record {index}"
        if not isinstance(row, dict):
            yield place, BadInput(f"{place}: expected an object, got a {type(row).__name__}.")
            continue
        # The file is in memory already; the bound still keeps one record from stalling the tokenizer.
        size = sum(len(value if isinstance(value, str) else str(value)) for value in row.values())
        if size > max_record_bytes:
            problem = f"{place}: a record of {size:,} characters is over the bound of {max_record_bytes:,}"
            yield place, BadInput(problem + "; split it into several records.")
        else:
            yield place, row


def _from_hub(name: str, split: str) -> Records:
    import datasets

    repository, _, config = name.partition(":")
    try:
        rows = datasets.load_dataset(repository, config or None, split=split).to_list()
    except Exception as error:  # offline, absent, gated, no such split: all mean "give another name"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"{name} is no file here, and its split {split!r} could not be loaded from the Hub ({reason}); "
            "check the name and the network, or give a local file."
        ) from error
    source = f"{name} ({split})"
    if not rows:
        raise BadInput(f"{source} holds no records; choose another split.")
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False, sort_keys=True, default=str).encode() + b"\n")
    return Records(
        source, digest.hexdigest(), rows, [f"{source}, record {index}" for index in range(len(rows))]
    )


def looks_like_path(source: str) -> bool:
    """Whether `source` must be a file here: Hub names are "name" or "owner/name" and do not end like files."""
    is_name = source.count("/") <= 1 and not source.startswith((".", "/", "~")) and "\\" not in source
    ending = Path(source).suffix.lower()
    return not is_name or ending in SUFFIXES or ("/" not in source and ending[1:].isalpha())


def _check_file(path: Path) -> None:
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        raise BadInput(
            f"{path} is a folder; give one file of it ({', '.join(files[:5]) or 'none is readable'})."
        )
    if not path.exists():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, n=1)
        raise BadInput(
            f"{path} does not exist; " + (f"did you mean {near[0]}?" if near else "check the path.")
        )
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"{path} is of unknown kind {path.suffix!r}; expected one of {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise BadInput(f"{path} is empty (0 bytes); expected at least one record.")
