"""Exams after training: which models sit which exams, as processes of their own, and what of that lies on disk already.

A student's results are `test.json` in its run folder, those of the teacher and of the untrained student lie in
`marks/`. Beside each, `test.asked.json` says what was asked: exams with the hashes of local files, protocol, limit,
shots, and which model. Where that is something else now, the exams are sat anew and the student is not trained anew.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.compare.plan import Test
from stillroom.compare.processes import Look, Say, Work, work_off
from stillroom.compare.schedule import Run, slug, state
from stillroom.core.record import RECIPE, SUMMARY, read_jsonl, read_summary, write_text_atomically
from stillroom.recipe.identity import content_hash
from stillroom.report.numbers import finite

RESULTS, ASKED, TEXTS, MARKS = "test.json", "test.asked.json", "test.samples.jsonl", "marks"
EXAMS_OF = "exams of "
"""Names of work begin with it."""
TEACHER, UNTRAINED = "teacher", "student before training"


@dataclass(frozen=True)
class Sitting:
    """One model and the exams that it sits. `owner` is what tables call it: a variant, or one of the marks."""

    owner: str
    seed: int | None
    model: str
    teacher: str | None
    folder: Path
    test: Test
    weights: str | None = None
    """Hash of the weights of a model that is no run's student, as the runs recorded it."""

    @property
    def name(self) -> str:
        return f"{EXAMS_OF}{self.folder.name}"

    def asked(self) -> dict[str, Any]:
        """All that the results depend on, as far as it can be known without loading anything."""
        return {
            "on": {name: _content(source) for name, source in self.test.on.items()},
            **self.test.model_dump(include={"protocol", "limit", "prompts", "shots"}),
            **self._whose(),
            "teacher": self.teacher,
        }

    def _whose(self) -> dict[str, Any]:
        """A run by its recipe and summary, wherever it lies; any other model by its weights."""
        if self.seed is None:
            return {"model": self.model, "weights": self.weights}
        run = [_content(str(self.folder / name)) for name in (RECIPE, SUMMARY)]
        return {"model": Path(self.model).name, "run": run}

    def done(self) -> bool:
        return _read(self.folder / ASKED) == self.asked() and self.complete()

    def complete(self) -> bool:
        """Whether every exam has results, to whatever question."""
        return self.test.on.keys() <= self.exams().keys()

    def exams(self) -> dict[str, dict[str, float]]:
        """Metrics by exam; empty where none was sat."""
        exams = _read(self.folder / RESULTS).get("exams") or {}
        return {name: self._reported(metrics) for name, metrics in exams.items() if name in self.test.on}

    def protocol(self) -> dict[str, Any]:
        return _read(self.folder / RESULTS).get("protocol") or {}

    def notes(self) -> list[str]:
        """What a reader of the marks must know: answers that stand in for references, prompts that were cut."""
        return [str(note) for note in _read(self.folder / RESULTS).get("notes") or []]

    def texts(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / TEXTS)

    def unknown(self) -> list[str]:
        """Metrics that are to be reported and that no exam has measured."""
        exams = _read(self.folder / RESULTS).get("exams") or {}
        measured = {key for metrics in exams.values() for key in metrics}
        return [key for key in self.test.metrics or () if key not in measured]

    def _reported(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        wanted = self.test.metrics
        kept = {key: finite(value) for key, value in metrics.items() if wanted is None or key in wanted}
        return {key: value for key, value in kept.items() if value is not None}


def check_exams(runs: Sequence[Run], test: Test, words: Sequence[str] = ()) -> None:
    """`BadInput` for everything about the exams that can be known before hours of training: names, files, columns,
    what needs a teacher, what runs code. `words` are those of `stillroom evaluate`."""
    from stillroom.evaluation.protocol import protocol_named
    from stillroom.recipe.sitting import prepare_sitting

    for run in {_teacher(run): run for run in runs}.values():
        prepare_sitting(
            run.recipe.student.model,
            test.on,
            protocol_named(test.protocol),
            teacher=_teacher(run),
            judge=None,
            limit=test.limit,
            shots=test.shots,
            allow_code_execution="--allow-code-execution" in words,
            inside_container="--i-run-inside-a-container" in words,
            batch_size=1,
        )


def sittings(runs: Sequence[Run], against: str, test: Test, output: Path) -> list[Sitting]:
    """Of the runs that are done, then of each teacher and each untrained student that has weights, once."""
    done = [run for run in runs if state(run) == "done"]
    found = [Sitting(run.variant, run.seed, str(run.folder), _teacher(run), run.folder, test) for run in done]
    first = sorted(done, key=lambda run: run.variant != against)
    teachers = {_teacher(run): run for run in reversed(first) if _teacher(run)}
    students = {
        run.recipe.student.model: run for run in reversed(first) if run.recipe.student.init == "pretrained"
    }
    for title, role, models in ((TEACHER, "teacher", teachers), (UNTRAINED, "student", students)):
        for model, run in reversed(models.items()):
            owner = title if len(models) == 1 else f"{title} ({run.variant})"
            folder = output / MARKS / slug(owner)
            taught_by = None if title == TEACHER else _teacher(run)
            asked = _without_references(test) if title == TEACHER else test
            if asked.on:
                known = read_summary(run.folder).models.get(role, {})
                weights = known.get("sha256") or known.get("files_sha256")
                found.append(Sitting(owner, None, str(model), taught_by, folder, asked, weights))
    return found


def _without_references(test: Test) -> Test:
    """The exams that a teacher can sit: not those whose references are its own answers."""
    from stillroom.evaluation.exams import exam_named

    kept = {name: source for name, source in test.on.items() if not exam_named(name, source).needs_teacher}
    return test.model_copy(update={"on": kept})


def not_examined(runs: Sequence[Run]) -> list[str]:
    """What a reader of the exams must be told."""
    if any(run.recipe.student.init == "random" for run in runs):
        return ["The student before training has random weights and sat no exam."]
    return []


def sit(
    wanted: Sequence[Sitting],
    jobs: int,
    say: Say,
    look: Look | None = None,
    words: Sequence[str] = (),
    failed: dict[str, str] | None = None,
) -> dict[str, str]:
    """Have the exams sat that are not, `jobs` at a time; why some failed, by name.

    `words` go to `stillroom evaluate` as they are.
    """
    waiting = [each for each in wanted if not each.done()]
    if waiting:
        say(f"exams: {len(waiting)} of {len(wanted)} models have not sat them yet")
    return work_off([_work(each, words) for each in waiting], jobs, say, look, failed)


def command(sitting: Sitting) -> list[str]:
    """What examines one model."""
    test = sitting.test
    words = [sys.executable, "-m", "stillroom", "evaluate", sitting.model, "--protocol", test.protocol]
    for name, source in test.on.items():
        words += ["--on", name if source is None else f"{name}={Path(source).expanduser()}"]
    words += ["--teacher", sitting.teacher] if sitting.teacher else []
    words += ["--limit", str(test.limit)] if test.limit else []
    words += ["--prompts", str(test.prompts)] if test.prompts is not None else []
    for name, count in test.shots.items():
        words += ["--shots", f"{name}={count}"]
    return [*words, "--output", str(sitting.folder / RESULTS), "--quiet"]


def _work(sitting: Sitting, words: Sequence[str]) -> Work:
    def begin() -> list[str]:
        sitting.folder.mkdir(parents=True, exist_ok=True)
        # until it is answered; `evaluate` keeps what is still right
        (sitting.folder / ASKED).unlink(missing_ok=True)
        return [*command(sitting), *words]

    def result() -> str | None:
        """It ended well, so what lies there is the answer."""
        if not sitting.complete():
            return None
        write_text_atomically(sitting.folder / ASKED, json.dumps(sitting.asked(), indent=1) + "\n")
        return ", ".join(sitting.exams())

    log = _home(sitting) / "logs" / f"{slug(sitting.name)}.txt"
    return Work(sitting.name, log, begin, result)


def _home(sitting: Sitting) -> Path:
    above = sitting.folder.parent
    return above.parent if above.name == MARKS else above


def _teacher(run: Run) -> str | None:
    """None also where there are several: an exam is sat beside one model."""
    teacher = run.recipe.teacher
    return teacher.model if teacher is not None and not teacher.others else None


def _content(source: str | None) -> str | None:
    """The hash of a local file; a folder by its name; None stands for the known place of an exam."""
    path = None if source is None else Path(source).expanduser()
    if path is None or not path.is_file():
        return source
    return content_hash(path)


def _read(path: Path) -> dict[str, Any]:
    """Empty where the file is absent or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
