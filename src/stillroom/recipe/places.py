"""Points of a training that can be looked at again: the student before it, its checkpoints, the student after it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from stillroom.core.errors import BadInput
from stillroom.core.inspection import Place
from stillroom.core.record import ADAPTER, OBJECTIVE, STUDENT, RunSummary, read_summary
from stillroom.recipe.load import load_recipe
from stillroom.recipe.models import load_student
from stillroom.recipe.schema import PYTHON_DOCS, Recipe, Student
from stillroom.training import checkpoint
from stillroom.training.pair import Pair

MOST_CHECKPOINTS = 4


@dataclass
class Subject:
    """What is inspected: a finished or broken-off run, or a recipe that has not been run."""

    recipe: Recipe
    run: Path | None = None
    summary: RunSummary | None = None

    @property
    def folder(self) -> Path:
        return Path(self.recipe.output)

    @property
    def steps(self) -> int:
        return self.summary.steps if self.summary is not None else 0


@dataclass
class Visit:
    """A place and the way to get there: `load` puts the weights of that moment into a freshly built pair."""

    place: Place
    load: Callable[[Pair], None]


def find_subject(target: Path) -> Subject:
    """The run in the folder `target`, or the recipe in the file `target`. Raises `BadInput`."""
    if target.is_dir():
        summary = read_summary(target)
        path = target / "recipe.yaml"
        if not path.exists():
            raise BadInput(
                f"{target} holds a run without its recipe.yaml, so nothing can be built again from it"
            )
        return Subject(_as_run(load_recipe(path), target), target, summary)
    if not target.exists():
        raise BadInput(f"expected a run folder or a recipe file to inspect, but there is no {target}")
    recipe = load_recipe(target)
    if (Path(recipe.output) / "run.json").exists():
        raise BadInput(
            f"{target} has been run: inspect its folder {recipe.output}, or give the recipe another output"
        )
    return Subject(recipe)


def _as_run(recipe: Recipe, run: Path) -> Recipe:
    """On the folder and the text of `run`: the folder may have been moved since, and `python-docs` harvested anew is
    the text of the Python of today, written over that of the run."""
    text = {
        split: str(run / "data" / f"{split}.jsonl")
        for split in ("train", "eval")
        if getattr(recipe.data, split) == PYTHON_DOCS and (run / "data" / f"{split}.jsonl").exists()
    }
    return recipe.model_copy(update={"output": str(run), "data": recipe.data.model_copy(update=text)})


def visits(subject: Subject) -> tuple[list[Visit], list[str]]:
    """All places in the order of training, and sentences on those that cannot be visited."""
    run, steps = subject.run, subject.steps
    found = [Visit(Place("start", 0, 0.0 if steps else None), lambda pair: None)]
    if run is None:
        return found, ["The recipe has not been run: only the student before training is looked at."]
    notes = []
    paths = checkpoint.checkpoints(run)
    needed = STUDENT if subject.recipe.student.lora is None else ADAPTER
    has_end = (run / needed).is_dir() and subject.summary is not None
    if has_end and not subject.recipe.training.get("load_best_model_at_end"):
        paths = [path for path in paths if _step(path) != steps]  # the end is the same weights
    if len(paths) > MOST_CHECKPOINTS:
        notes.append(f"Of {len(paths)} checkpoints {MOST_CHECKPOINTS} are looked at, evenly spread.")
        stretch = len(paths) / (
            MOST_CHECKPOINTS + has_end
        )  # without an end, the last checkpoint is among them
        paths = [paths[round((i + 1) * stretch) - 1] for i in range(MOST_CHECKPOINTS)]
    for path in paths:
        if reason := checkpoint.fault(path):
            notes.append(f"{reason}; it is passed over.")
        else:
            found.append(
                Visit(Place(f"step {_step(path):,}", _step(path), _share(path, steps)), _loader(path))
            )
    if has_end:
        found.append(Visit(Place("end", steps, 1.0), lambda pair: load_end(pair, subject.recipe, run)))
    else:
        notes.append("The run left no final student: its last place is the last one that could be loaded.")
    return found, notes


def load_end(pair: Pair, recipe: Recipe, run: Path) -> None:
    """Put the final student of `run`, and the final parts of its objectives, into `pair`."""
    student: Any = pair.student
    if recipe.student.lora is not None:
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(student, load_peft_weights(str(run / ADAPTER), device="cpu"))
    else:
        final = Student(model=str(run / STUDENT), dtype=recipe.student.dtype)
        student.load_state_dict(load_student(final, recipe.seed).state_dict())
    if (run / OBJECTIVE).exists():
        try:
            pair.parts.load_state_dict(load_file(run / OBJECTIVE))
        except RuntimeError as error:
            fault = str(error).splitlines()[-1].strip()
            raise BadInput(
                f"{run / OBJECTIVE} does not fit the objectives that its recipe builds ({fault}): it was changed, or "
                "written by another version of stillroom; inspect the run with that one"
            ) from error


def _loader(path: Path) -> Callable[[Pair], None]:
    return lambda pair: checkpoint.load_weights(pair, path)


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _share(path: Path, steps: int) -> float | None:
    return _step(path) / steps if steps else None
