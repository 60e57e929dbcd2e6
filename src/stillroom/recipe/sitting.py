"""What exams were asked for, checked and read before a weight is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.core.record import STUDENT, SUMMARY
from stillroom.data.columns import Samples
from stillroom.data.evaluation_sets import read_evaluation_set
from stillroom.evaluation.exams import Exam, exam_named
from stillroom.evaluation.protocol import Protocol

GLUE_SETTINGS: dict[str, Any] = {"epochs": 3, "learning_rate": 5e-5, "batch_size": 32, "seed": 10}
"""How a model is fine-tuned for an exam of GLUE."""
CODE_SETTINGS: dict[str, Any] = {
    "samples_per_task": 1,
    "ks": [1],
    "sampling_temperature": 0.0,
    "max_new_tokens": 512,
    "timeout": 3.0,
}
"""How programs are written and run: greedy, pass@1, seconds of processor time."""


@dataclass(frozen=True)
class Sitting:
    """Everything asked, checked, and not yet begun."""

    model: str
    exams: dict[str, Exam]
    sources: dict[str, str | None]
    protocol: Protocol
    teacher: str | None
    judge: str | None
    limit: int | None
    shots: dict[str, int]
    allow_code_execution: bool
    inside_container: bool
    batch_size: int
    texts: dict[str, Samples]
    notes: list[str]


def prepare_sitting(
    model: str,
    on: Mapping[str, str | None],
    protocol: Protocol,
    *,
    teacher: str | None,
    judge: str | None,
    limit: int | None,
    shots: Mapping[str, int],
    allow_code_execution: bool,
    inside_container: bool,
    batch_size: int,
) -> Sitting:
    """Names, options and texts of all exams in `on`. `BadInput` names everything that is wrong with the options."""
    exams = {name: exam_named(name, source) for name, source in on.items()}
    _check(exams, on, teacher, shots, allow_code_execution)
    model = model if not (Path(model) / SUMMARY).exists() else str(Path(model) / STUDENT)
    _check_positions({"student": model, "teacher": teacher, "judge": judge}, exams, protocol)
    _check_files(exams, on)
    if any(exam.kind == "code" for exam in exams.values()):
        _check_code(exams, on, inside_container)
    texts, notes = _read_texts(exams, on, limit)
    return Sitting(
        model=model,
        exams=exams,
        sources=dict(on),
        protocol=protocol,
        teacher=teacher,
        judge=judge,
        limit=limit,
        shots=dict(shots),
        allow_code_execution=allow_code_execution,
        inside_container=inside_container,
        batch_size=batch_size,
        texts=texts,
        notes=notes,
    )


def _check(
    exams: Mapping[str, Exam],
    on: Mapping[str, str | None],
    teacher: str | None,
    shots: Mapping[str, int],
    allow_code_execution: bool,
) -> None:
    if not exams:
        raise BadInput("no exam was named; give at least one: --on NAME or --on NAME=PATH.")
    problems = []
    for name, exam in exams.items():
        if exam.needs_teacher and teacher is None:
            problems.append(
                f"{name} has no references; give --teacher, whose greedy answers become the references."
            )
        if exam.kind == "code" and not allow_code_execution:
            problems.append(
                f"{name} runs the code that the model writes; say --allow-code-execution if that is wanted."
            )
        if exam.kind == "harness" and find_spec("lm_eval") is None:
            problems.append(f"{name} is sat with lm-eval; install it with `pip install 'stillroom[eval]'`.")
        source = on[name]
        if source is not None and exam.kind in ("harness", "glue") and not Path(source).exists():
            problems.append(f"{name}: {source} does not exist; check the path.")
    for name in shots:
        if name not in exams or exams[name].kind != "harness":
            problems.append(f"--shots {name}: not among the exams that take shots; name it with --on, too.")
    if problems:
        raise BadInput("\n".join(problems))


def _check_positions(models: Mapping[str, str | None], exams: Mapping[str, Exam], protocol: Protocol) -> None:
    """Whether every model has room for prompt and answer."""
    needs = {"text": protocol.max_length, "code": CODE_SETTINGS["max_new_tokens"] + 1}
    kinds = {exam.kind for exam in exams.values()}
    if not kinds & needs.keys():
        return
    from stillroom.recipe.models import load_config

    for role, source in models.items():
        if source is None:
            continue
        config = load_config(source, role).get_text_config(decoder=True)
        positions = getattr(config, "max_position_embeddings", None)
        for kind in ("text", "code") if role == "student" else ("text",):
            if kind in kinds and positions is not None and positions < needs[kind]:
                what = f"protocol {protocol.name}" if kind == "text" else "an exam of code"
                raise BadInput(
                    f"the {role} has {positions} positions, but {what} needs {needs[kind]}; choose a model with a "
                    "longer context."
                )


def _check_files(exams: Mapping[str, Exam], on: Mapping[str, str | None]) -> None:
    """Names of tasks and the form of local files, as far as that is known without reading the Hub."""
    for name, exam in exams.items():
        source = on[name]
        if exam.kind == "glue" and source is not None:
            from stillroom.evaluation._glue_data import read_glue

            read_glue(exam.task, source)
        if exam.kind == "harness":
            from stillroom.evaluation.harness import check_task

            check_task(exam.task, source)


def _check_code(exams: Mapping[str, Exam], on: Mapping[str, str | None], inside_container: bool) -> None:
    """A sandbox that holds, and tasks that can be read: before hours of generation."""
    from stillroom.evaluation.code.sandbox import require_sandbox
    from stillroom.evaluation.code.tasks import code_tasks

    require_sandbox(inside_container=inside_container)
    for name, exam in exams.items():
        if exam.kind == "code":
            code_tasks(name, on[name])


def _read_texts(
    exams: Mapping[str, Exam], on: Mapping[str, str | None], limit: int | None
) -> tuple[dict[str, Samples], list[str]]:
    texts, notes = {}, []
    for name, exam in exams.items():
        if exam.kind != "text":
            continue
        samples, found = read_evaluation_set(exam.text, on[name])
        samples.samples[:] = samples.samples[:limit]
        texts[name] = samples
        notes += found
    return texts, notes
