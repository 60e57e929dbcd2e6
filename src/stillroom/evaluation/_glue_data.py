"""The tasks of GLUE: which columns they have in their files and on the Hub, their labels, and how they are marked.

Files are those of gluebenchmark.com: tab-separated without quoting, CoLA without a header. The test sets have no
labels, so the development set is marked, as everybody does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput

HUB = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueTask:
    folder: str
    """As GLUE's archive calls it."""
    columns: tuple[str, ...]
    """Of the files: one or two texts, then the label. Numbers where there is no header."""
    hub_columns: tuple[str, ...]
    """The texts, on the Hub; the label is `label` there."""
    labels: tuple[str, ...]
    """In the order of the Hub's numbers; none where the label is a number to predict."""
    metrics: tuple[str, ...] = ("accuracy",)
    """The one that papers report comes first."""
    dev: tuple[str, str] = ("dev", "validation")
    """The set that is marked: name of the file, name on the Hub."""


@dataclass(frozen=True)
class Example:
    first: str
    second: str | None
    label: float
    """The number of the label, or what is to be predicted."""


PAIR = ("sentence1", "sentence2")
BINARY, ENTAILMENT = ("0", "1"), ("entailment", "not_entailment")

TASKS = {
    "cola": GlueTask("CoLA", ("3", "1"), ("sentence",), BINARY, ("matthews", "accuracy")),
    "sst2": GlueTask("SST-2", ("sentence", "label"), ("sentence",), BINARY),
    "mrpc": GlueTask("MRPC", ("#1 String", "#2 String", "Quality"), PAIR, BINARY, ("f1", "accuracy")),
    "rte": GlueTask("RTE", (*PAIR, "label"), PAIR, ENTAILMENT),
    "wnli": GlueTask("WNLI", (*PAIR, "label"), PAIR, BINARY),
    "qnli": GlueTask("QNLI", ("question", "sentence", "label"), ("question", "sentence"), ENTAILMENT),
    "qqp": GlueTask(
        "QQP",
        ("question1", "question2", "is_duplicate"),
        ("question1", "question2"),
        BINARY,
        ("f1", "accuracy"),
    ),
    "mnli": GlueTask(
        "MNLI",
        (*PAIR, "gold_label"),
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        dev=("dev_matched", "validation_matched"),
    ),
    "mnli-mm": GlueTask(
        "MNLI",
        (*PAIR, "gold_label"),
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        dev=("dev_mismatched", "validation_mismatched"),
    ),
    "stsb": GlueTask("STS-B", (*PAIR, "score"), PAIR, (), ("pearson", "spearman")),
}


def read_glue(task: str, source: str | None) -> tuple[list[Example], list[Example]]:
    """Training and development set of `task`, from the files under `source` or from the Hub."""
    kind = TASKS[task]
    if source is None:
        return _from_hub(task, kind)
    folder = Path(source)
    folder = folder / kind.folder if (folder / kind.folder).is_dir() else folder
    return _from_file(folder / "train.tsv", kind), _from_file(folder / f"{kind.dev[0]}.tsv", kind)


def _from_hub(task: str, kind: GlueTask) -> tuple[list[Example], list[Example]]:
    from datasets import load_dataset

    try:
        data = load_dataset(HUB, task.removesuffix("-mm"))
    except (OSError, ValueError, RuntimeError) as error:  # all that `datasets` raises for what is absent
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(
            f"the data of {task} cannot be reached on the Hub ({said}); give the folder of its files as {task}=PATH."
        ) from error

    def examples(split: str) -> list[Example]:
        return [
            _example([str(row[each]) for each in kind.hub_columns], float(row["label"]))
            for row in data[split]
        ]

    return examples("train"), examples(kind.dev[1])


def _from_file(path: Path, kind: GlueTask) -> list[Example]:
    if not path.is_file():
        raise BadInput(
            f"{path}: no such file; give the folder that holds train.tsv and {kind.dev[0]}.tsv of {kind.folder}."
        )
    examples = []
    for number, row in _table(path, header=not kind.columns[0].isdigit()):
        missing = [column for column in kind.columns if column not in row]
        if missing:
            expected, found = ", ".join(kind.columns), ", ".join(row)
            raise BadInput(f"{path}:{number}: no column {missing[0]!r}; expected {expected}, found {found}.")
        *texts, label = (row[column] for column in kind.columns)
        examples.append(_example(texts, _number(f"{path}:{number}", label, kind.labels)))
    if not examples:
        raise BadInput(f"{path} holds no example.")
    return examples


def _example(texts: Sequence[str], label: float) -> Example:
    return Example(texts[0], texts[1] if len(texts) > 1 else None, label)


def _number(place: str, label: str, labels: Sequence[str]) -> float:
    if label in labels:
        return float(labels.index(label))
    try:
        if not labels:
            return float(label)
    except ValueError:
        pass
    raise BadInput(f"{place}: expected the label {' or '.join(labels) or 'as a number'}, got {label!r}.")


def _table(path: Path, header: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line number and cells by column name, or by position where there is no header."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")  # texts hold other breaks, such as U+2028
    names = lines[0].split("\t") if header and lines else []
    for number, line in enumerate(lines[1:] if header else lines, start=2 if header else 1):
        if line.strip():
            cells = line.split("\t")
            yield number, dict(zip(names or map(str, range(len(cells))), cells, strict=False))
