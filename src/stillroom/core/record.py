"""What a run leaves on disk. Reading it needs neither torch nor the models.

student/            model and tokenizer, Hugging Face format
recipe.yaml         the resolved recipe, every default written out
metrics.jsonl       one object a line: step, tokens, seconds, split ("train" or "eval"), then name: value;
                    term losses as loss/<objective>/<term>, gradients as grad_norm/<objective>
samples.jsonl       held-out prompts: prompt, reference, and one text for each of teacher, baseline, student
run.json            `RunSummary`
objective.safetensors   trained parts of objectives, if any
inspection.json     what `stillroom inspect` found (`stillroom.core.inspection`), if it was asked
report.html
"""

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from stillroom.core.errors import BadInput

METRICS, SAMPLES, SUMMARY, RECIPE, STUDENT, REPORT, OBJECTIVE, ADAPTER, INSPECTION = (
    "metrics.jsonl",
    "samples.jsonl",
    "run.json",
    "recipe.yaml",
    "student",
    "report.html",
    "objective.safetensors",
    "adapter",
    "inspection.json",
)


@dataclass
class RunSummary:
    """The content of run.json. Metric names: loss (nats per response token), perplexity, agreement (top-1, 0 to 1),
    teacher_kl (nats per token), bits_per_byte, rouge_l (0 to 100)."""

    name: str
    """What the run is called in tables, for example "forward_kl" or "hard labels"."""
    exit: Literal["running", "done", "stopped", "failed"] = "running"
    final: dict[str, float] = field(default_factory=dict)
    """Metrics of the distilled student on the evaluation set."""
    baseline: dict[str, float] = field(default_factory=dict)
    """The same of the student before training."""
    teacher: dict[str, float] = field(default_factory=dict)
    """The same of the teacher."""
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For "student" and "teacher": source, model_type, parameters, sha256 of the weights, vocabulary."""
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    """For "train" and "eval": source, samples, response_tokens, sha256, and counts of what was dropped or cut."""
    objectives: list[dict[str, Any]] = field(default_factory=list)
    """For each: use, weight, additive, terms, settings, files that it has read with the sha256 of their content."""
    steps: int = 0
    tokens: int = 0
    """Trained response tokens."""
    seconds: float = 0.0
    tokens_per_second: float = 0.0
    peak_memory_bytes: int = 0
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    """Device, threads, platform, precision, world size, command."""
    notes: list[str] = field(default_factory=list)
    """Sentences a reader should see: inert terms, mass removed by trimming, dropped samples."""


def write_text_atomically(path: Path, text: str) -> None:
    """Write beside `path`, then rename: a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one object as one line and flush it, so that a killed run keeps all lines but perhaps the last."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=True) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Every complete line; a half-written last line (a killed run) is left out; an absent file is empty."""
    if not path.exists():
        return []
    rows = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise BadInput(f"{path}:{number}: expected one JSON object a line, got {line[:60]!r}") from error
    return rows


def write_summary(run: Path, summary: RunSummary) -> None:
    write_text_atomically(run / SUMMARY, json.dumps(asdict(summary), indent=2, ensure_ascii=False) + "\n")


def read_summary(run: Path) -> RunSummary:
    """The summary of a run folder; `BadInput` where there is none or it is of another version."""
    path = run / SUMMARY
    if not path.exists():
        raise BadInput(
            f"{run} is not a run folder: it has no {SUMMARY}. Give the folder a run wrote (--output)."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return RunSummary(**content)
    except (json.JSONDecodeError, TypeError) as error:
        raise BadInput(f"{path} cannot be read as a run summary: {error}") from error
