"""Local files of MMLU, BBH, GSM8K and DROP as the splits that the harness expects of the Hub.

    MMLU    a folder with *dev*.jsonl and *test*.jsonl: `question`, `subject`, `choices`, `answer` (0 to 3)
    BBH     a folder with <task>.json: {"examples": [{"input", "target"}]}, as its authors publish it
    GSM8K   a folder with train.jsonl and test.jsonl: `question`, `answer`
    DROP    a folder with *dev*.json and, for the shots, *train*.json, or one file: passages as its authors publish them

Without a DROP training file the shots come from the other questions of the development file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput
from stillroom.data.jsonl import read_json_lines

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

Splits = Mapping[str, list[dict[str, Any]]]

LARGEST_RECORD = 2**20
"""Bytes of one question in a file of JSON lines."""


def local_documents(manager: "TaskManager", folder: str, source: Path) -> dict[str, Any]:
    """Changes to the tasks in the harness' `folder` that read `source`; `BadInput` where it has another form."""
    from datasets import Dataset

    read, changes = READERS[folder](source)
    # One change reaches all members of a group, so each finds its part by the place of its own definition.
    parts = {
        str(entry.yaml_path): (entry.cfg or {}).get("dataset_name")
        for entry in manager.task_index.values()
        if entry.yaml_path is not None
    }

    def documents(config_source: str, version: float = 0.0) -> dict[str, Any]:
        return {split: Dataset.from_list(rows) for split, rows in read(parts[config_source]).items()}

    return {"custom_dataset": documents, **changes}


Reader = tuple[Callable[[str | None], Splits], dict[str, Any]]
"""From the name of a part to its splits, and what else must change in the task."""


def _mmlu(source: Path) -> Reader:
    subjects: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for split in ("dev", "test"):
        path = _only(source, f"*{split}*.jsonl")
        for row in _rows(path, ("question", "subject", "choices", "answer")):
            subjects.setdefault(row["subject"], {}).setdefault(split, []).append(row)

    def part(name: str | None) -> Splits:
        splits = subjects.get(name or "", {})
        if set(splits) != {"dev", "test"}:
            raise BadInput(f"{source} has no dev and test questions of the subject {name!r}, which MMLU has.")
        return splits

    return part, {}


def _bbh(source: Path) -> Reader:
    def part(name: str | None) -> Splits:
        path = _only(source, f"{name}.json")
        rows = _json(path).get("examples", [])
        for number, row in enumerate(rows, start=1):
            _expect(f"{path}: example {number}", row, ("input", "target"))
        return {"test": rows}

    return part, {}


def _gsm8k(source: Path) -> Reader:
    fields = ("question", "answer")
    splits = {split: _rows(_only(source, f"{split}.jsonl"), fields) for split in ("train", "test")}
    return lambda name: splits, {}


def _drop(source: Path) -> Reader:
    dev = source if source.is_file() else _only(source, "*dev*.json")
    splits = {"validation": _drop_rows(dev)}
    training = [] if source.is_file() else sorted(source.glob("*train*.json"))
    if training:
        return lambda name: splits | {"train": _drop_rows(training[0])}, {}
    # The harness leaves a question out of its own shots only where these come from the `test_split`.
    return lambda name: splits, {
        "training_split": None,
        "fewshot_split": "validation",
        "test_split": "validation",
    }


READERS: dict[str, Callable[[Path], Reader]] = {"mmlu": _mmlu, "bbh": _bbh, "gsm8k": _gsm8k, "drop": _drop}


def _drop_rows(path: Path) -> list[dict[str, Any]]:
    """One row a question, with the lists of the accepted answers field by field, as the Hub's data set has them."""
    rows = []
    for section, content in _json(path).items():
        _expect(f"{path}: {section}", content, ("passage", "qa_pairs"))
        for pair in content["qa_pairs"]:
            _expect(f"{path}: {section}", pair, ("question", "query_id", "answer"))
            others = [_answer(each) for each in pair.get("validated_answers", [])]
            rows.append(
                {
                    "section_id": section,
                    "query_id": pair["query_id"],
                    "passage": content["passage"],
                    "question": pair["question"],
                    "answer": _answer(pair["answer"]),
                    "validated_answers": {
                        key: [each[key] for each in others] for key in ("number", "date", "spans")
                    },
                }
            )
    return rows


def _answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    date = answer.get("date", {})
    return {
        "number": str(answer.get("number", "")),
        "date": {key: str(date.get(key, "")) for key in ("day", "month", "year")},
        "spans": list(answer.get("spans", [])),
    }


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if len(found) != 1:
        what = ", ".join(path.name for path in found) or "none"
        raise BadInput(f"{folder}: expected one file {pattern} in this folder, found {what}.")
    return found[0]


def _rows(path: Path, fields: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for place, row in read_json_lines(path, LARGEST_RECORD):
        if isinstance(row, BadInput):
            raise row
        _expect(place, row, fields)
        rows.append({field: row[field] for field in fields})
    return rows


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{path}: expected one JSON object, got {type(content).__name__}.")
    return content


def _expect(place: str, row: Mapping[str, Any], fields: Sequence[str]) -> None:
    missing = [field for field in fields if field not in row]
    if missing:
        raise BadInput(
            f"{place}: no field {missing[0]!r}; expected {', '.join(fields)}, found {', '.join(row)}."
        )
