"""The main job on text that every user already has: three students from one start, two of them distilled.

A small teacher comes with the package. All students start from the same random weights and see the same tokens in
the same order; one learns from the text alone, the others from what the teacher says of it, one of those also from
where the teacher looks.
"""

import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from stillroom.api import run
from stillroom.core.errors import BadInput
from stillroom.core.progress import Display, Silent
from stillroom.core.record import REPORT, STUDENT, SUMMARY, RunSummary
from stillroom.recipe.load import load_recipe
from stillroom.report.page import write_report

RUNS: dict[str, list[Any]] = {
    "supervised KD": [{"use": "logits.forward_kl"}],
    "SHARP": [{"use": "logits.forward_kl"}, {"use": "attention.sharp"}],
    "hard labels": [{"use": "hard.cross_entropy"}],
}
"""What the students are trained on, by the name of the run. The first one is the main one of the report."""


def run_quickstart(
    output: Path, *, steps: int | None = None, train_teacher: bool = False, display: Display | None = None
) -> tuple[list[Path], Path]:
    """Harvest, train, evaluate, report. Returns the run folders, the main one first, and the page.

    Earlier runs of the quickstart in `output` are replaced. `steps` shortens or lengthens every training.
    `train_teacher` builds the teacher anew by its recipe instead of taking the one that comes along.
    """
    display = display or Silent()
    _refuse_strangers(output)
    from stillroom.data.python_docs import harvest, write_harvest

    with display.task("Reading the documentation of your Python") as advance:
        harvested = harvest()
        train, held_out = write_harvest(harvested, output / "data")
        advance(
            1, 1, f"{len(harvested.train):,} questions to train on, {len(harvested.evaluation):,} held out"
        )
    with as_file(files("stillroom") / "assets" / "python_docs") as assets:
        teacher = _trained_teacher(assets, output, steps, display) if train_teacher else assets / "teacher"
        folders = []
        for name, objectives in RUNS.items():
            folder = output / _folder(name)
            values = {"objectives": objectives, "output": str(folder)}
            # Teacher and untrained student are the same for all runs: the first one marks them.
            sets = [f"evaluation.baselines={str(not folders).lower()}"]
            if train_teacher and steps is not None:  # a teacher cut short is no teacher, and was asked for
                sets.append("teacher.preflight=note")
            places = {"student": assets / "student", "teacher": teacher, "data": train, "eval": held_out}
            flags = {key: str(place) for key, place in places.items()} | {"max_steps": steps}
            recipe = load_recipe(values=_recipe(assets / "quickstart.yaml") | values, flags=flags, sets=sets)
            _finish(run(recipe, name=name, overwrite=True, display=display))
            folders.append(folder)
    page = write_report(folders, output / REPORT, "Distilled from the documentation of Python")
    return folders, page


def _folder(name: str) -> str:
    return name.lower().replace(" ", "_")


def _recipe(path: Path) -> dict[str, Any]:
    from stillroom.recipe import strict_yaml

    return dict(strict_yaml.read(path).values)


def _trained_teacher(assets: Path, output: Path, steps: int | None, display: Display) -> Path:
    """A folder like the one that comes along, made by the teacher's own recipe on the standard library alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from stillroom.data.docs_tokenizer import train_tokenizer
    from stillroom.data.python_docs import harvest, write_harvest
    from stillroom.recipe.models import quiet

    library = harvest(packages=())
    train, held_out = write_harvest(library, output / "teacher" / "text")
    made = output / "teacher" / "model"
    made.mkdir(parents=True, exist_ok=True)
    shutil.copy(assets / "teacher" / "config.json", made)
    tokenizer = train_tokenizer(library)
    tokenizer.save_pretrained(made)
    folder = output / "teacher" / "run"
    places = {"student": made, "data": train, "eval": held_out, "output": folder}
    flags = {key: str(place) for key, place in places.items()} | {"max_steps": steps}
    recipe = load_recipe(assets / "teacher.yaml", flags=flags)
    _finish(run(recipe, name="teacher", overwrite=True, display=display))
    with quiet():
        weights = AutoModelForCausalLM.from_pretrained(folder / STUDENT, dtype=torch.float16)
        weights.save_pretrained(made)
    return made


def _finish(summary: RunSummary) -> None:
    """A run that a person stopped stops the quickstart, not only the one student."""
    if summary.exit == "stopped":
        raise KeyboardInterrupt


def _refuse_strangers(output: Path) -> None:
    """Only a folder that is absent, empty, or an earlier quickstart's is written into."""
    if not output.exists():
        return
    if not output.is_dir():
        raise BadInput(f"--output: {output} is a file; give a folder")
    ours = {"data", "teacher", REPORT, *(_folder(name) for name in RUNS)}
    others = sorted(path.name for path in output.iterdir() if path.name not in ours)
    if others and not any((output / _folder(name) / SUMMARY).exists() for name in RUNS):
        raise BadInput(f"--output: {output} holds other files ({others[0]}); give an empty or new folder")
