"""`stillroom evaluate --on`: a model sits exams by name, under a protocol, and its marks go into one file.

    FILE                    model, protocol with every number, marks by exam, notes, versions, and what they hang on
    FILE.samples.jsonl      (in place of .json) exam, prompt, reference and text, one object a line

Whatever can be wrong with names, files, columns, teachers and vocabularies is found before a weight is loaded. The
file is written anew after every exam. Where it is there already, exams that were sat under the same conditions
(weights, protocol, data) are kept, and the others are sat.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance, Display, Silent
from stillroom.core.record import read_jsonl, write_jsonl, write_text_atomically
from stillroom.evaluation.protocol import protocol_named
from stillroom.recipe.sitting import CODE_SETTINGS, GLUE_SETTINGS, Sitting, prepare_sitting

if TYPE_CHECKING:
    from stillroom.recipe.examination_room import ExaminationRoom

PACKAGES = ("stillroom", "torch", "transformers", "rouge-score", "lm-eval")


@dataclass
class ExamResults:
    """The content of the result file."""

    model: str
    protocol: dict[str, Any]
    """Every setting; "name" is that of the protocol."""
    exams: dict[str, dict[str, float]] = field(default_factory=dict)
    """Marks by exam and metric."""
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    speed: dict[str, dict[str, float]] = field(default_factory=dict)
    """For exams of texts: generated tokens, seconds, and tokens a second."""
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By exam: source, sha256 and samples, or what stands for them."""
    helpers: dict[str, Any] = field(default_factory=dict)
    """Source and hash of the weights of model, teacher and judge."""
    environment: dict[str, str] = field(default_factory=dict)
    """Device, and the number format of the model's weights."""


def sit_exams(
    model: str,
    on: Mapping[str, str | None],
    *,
    protocol: str = "clean",
    teacher: str | None = None,
    limit: int | None = None,
    seeds: Sequence[int] = (),
    prompts: int | None = None,
    template: str | None = None,
    judge: str | None = None,
    shots: Mapping[str, int] | None = None,
    allow_code_execution: bool = False,
    inside_container: bool = False,
    batch_size: int = 16,
    output: Path | None = None,
    display: Display | None = None,
) -> ExamResults:
    """Marks of `model` (a run folder means its student) in the exams `on`: name to file, or None for the Hub.

    `limit` takes the first so many questions of every exam (of every part, where it has parts). `seeds` replace the
    sampling seeds of the protocol; only the first `prompts` of an exam of texts are answered, likelihood is that of
    all. `output` is written after every exam and read first. `BadInput` for everything that a person can mend.
    """
    display = display or Silent()
    sitting = prepare_sitting(
        model,
        on,
        protocol_named(protocol, seeds, template, prompts),
        teacher=teacher,
        judge=judge,
        limit=limit,
        shots=shots or {},
        allow_code_execution=allow_code_execution,
        inside_container=inside_container,
        batch_size=batch_size,
    )
    from stillroom.recipe.examination_room import ExaminationRoom  # from here on torch is needed

    room = ExaminationRoom(sitting)
    results = _blank(model, sitting, room)
    samples = _take_up(results, output)
    for name in [name for name in sitting.exams if name not in results.exams]:
        with display.task(f"Exam {name}") as advance:
            _sit(room, name, results, samples, advance)
        if output is not None:
            _write(results, samples, output)
    if output is not None:
        _write(results, samples, output)
    return results


def _blank(model: str, sitting: Sitting, room: "ExaminationRoom") -> ExamResults:
    """The result before the first exam: all that its marks hang on."""
    settings = sitting.protocol.describe() | {"limit": sitting.limit}
    data: dict[str, dict[str, Any]] = {}
    for name, exam in sitting.exams.items():
        if exam.kind == "text":
            read = sitting.texts[name]
            data[name] = {"source": read.source, "sha256": read.sha256, "samples": len(read)}
        else:
            data[name] = {"source": sitting.sources[name], "shots": sitting.shots.get(name)}
        data[name] |= {"glue": GLUE_SETTINGS, "code": CODE_SETTINGS}.get(exam.kind, {})
    return ExamResults(
        model,
        settings,
        notes=list(sitting.notes),
        versions=_versions(),
        data=data,
        helpers=room.helpers(),
        environment=room.environment(),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def _take_up(results: ExamResults, output: Path | None) -> list[dict[str, Any]]:
    """Puts exams that were sat before under the same conditions into `results`; gives their samples."""
    if output is None or not output.exists():
        return []
    try:
        before = json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{output} is there and cannot be read as a result of exams ({error}); move it away."
        ) from error
    if not isinstance(before, dict) or "exams" not in before:
        raise BadInput(f"{output} is there and is no result of exams; give another --output or move it away.")
    ours = asdict(results)
    if any(before.get(key) != ours[key] for key in ("protocol", "helpers")):
        return []
    data, speed = before.get("data", {}), before.get("speed", {})
    kept = [
        name for name in before["exams"] if name in data and results.data.get(name, data[name]) == data[name]
    ]
    results.exams = {name: before["exams"][name] for name in kept}
    results.data |= {name: data[name] for name in kept}
    results.speed = {name: speed[name] for name in kept if name in speed}
    known = [note for note in before.get("notes", []) if note.partition(": ")[0] in kept]
    results.notes += [note for note in known if note not in results.notes]
    return [row for row in read_jsonl(_samples_of(output)) if row["exam"] in kept]


def _sit(
    room: "ExaminationRoom", name: str, results: ExamResults, samples: list[dict[str, Any]], advance: Advance
) -> None:
    marks = room.sit(name, advance)
    if any(each["weights"] is None for each in results.helpers.values()):
        results.helpers = room.helpers()  # by now they have been downloaded
    results.exams[name] = marks.values
    results.notes += [f"{name}: {note}" for note in marks.notes]
    samples += [{"exam": name} | row for row in marks.samples]
    if marks.tokens:
        results.speed[name] = {
            "generated_tokens": marks.tokens,
            "seconds": marks.seconds,
            "tokens_per_second": marks.tokens / marks.seconds if marks.seconds else 0.0,
        }


def _samples_of(output: Path) -> Path:
    return output.with_suffix(".samples.jsonl")


def _write(results: ExamResults, samples: list[dict[str, Any]], output: Path) -> None:
    """Samples first: a mark on disk means that its texts are, too."""
    write_jsonl(_samples_of(output), samples)
    content = json.dumps(asdict(results), indent=2, ensure_ascii=False)
    write_text_atomically(output, content + "\n")
