"""The run folder: who may write into it, and where a stopped run goes on."""

import json
import os
import shutil
from pathlib import Path

from stillroom.core.errors import BadInput
from stillroom.core.record import (
    ADAPTER,
    INSPECTION,
    METRICS,
    OBJECTIVE,
    RECIPE,
    REPORT,
    SAMPLES,
    STUDENT,
    SUMMARY,
    RunSummary,
    read_jsonl,
    read_summary,
    write_jsonl,
    write_text_atomically,
)
from stillroom.recipe.load import load_recipe
from stillroom.recipe.schema import PYTHON_DOCS, Recipe

FREE = frozenset(
    {
        "output",
        "teacher.cache",
        "teacher.preflight",
        "training.logging_steps",
        "training.eval_steps",
        "training.save_steps",
    }
)
"""Keys that may differ when a run is resumed: they change what is written or where it lies, not what is learned."""


def is_main_process() -> bool:
    """True in the one process of a run, or in the first of those that a launcher such as torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def claim(recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds another run, before any work is done. (`clear` empties it, once the rest is known
    to be sound.)"""
    run = Path(recipe.output)
    if not is_main_process():
        return  # the first process may have begun to write already
    if not (run / SUMMARY).exists() and not (run / RECIPE).exists():
        if resume:
            raise BadInput(f"--resume: {run} holds no run to go on with; leave --resume out to start one")
        return
    if resume:
        _check_same(recipe, run)
    elif not overwrite:
        state = read_summary(run).exit if (run / SUMMARY).exists() else "unfinished"
        raise BadInput(
            f"{run} already holds a run ({state}); give another --output, --resume to go on with it, "
            "or --overwrite to replace it"
        )


def finished(recipe: Recipe) -> RunSummary | None:
    """The summary of the run in the output folder, if that is done."""
    run = Path(recipe.output)
    summary = read_summary(run) if (run / SUMMARY).exists() else None
    return summary if summary is not None and summary.exit == "done" else None


def check_same_data(recipe: Recipe, data: dict[str, dict]) -> None:
    """Refuse to go on where the text is not what the run was started with."""
    run = Path(recipe.output)
    before = read_summary(run).data if (run / SUMMARY).exists() else {}
    for split, facts in data.items():
        if split in before and before[split]["sha256"] != facts["sha256"]:
            raise BadInput(
                f"--resume: the {split} data {facts['source']} changed since {run} was started; "
                "bring the old file back, or start a new run with another --output"
            )


def check_same_files(recipe: Recipe, files: dict[str, str]) -> None:
    """The same of the files that objectives read, such as groups of heads; `files` are hashes by path."""
    run = Path(recipe.output)
    objectives = read_summary(run).objectives if (run / SUMMARY).exists() else []
    before = {path: known for each in objectives for path, known in each.get("files", {}).items()}
    if changed := [path for path, known in files.items() if before.get(path, known) != known]:
        raise BadInput(
            f"--resume: {changed[0]} changed since {run} was started; bring the old file back, or start a new run with "
            "another --output"
        )


def check_same_cache(recipe: Recipe, precision: str) -> None:
    """Refuse to go on from a cache of another precision: all else of a cache is held against the recipe anyway."""
    run = Path(recipe.output)
    models = read_summary(run).models if (run / SUMMARY).exists() else {}
    before = models.get("teacher", {}).get("cache_precision", precision)
    if before != precision:
        raise BadInput(
            f"--resume: {run} was started from a cache stored as {before}, and this one is stored as {precision}; "
            "give the old one (teacher.cache), or start a new run with another --output"
        )


def open_run(recipe: Recipe) -> Path:
    run = Path(recipe.output)
    run.mkdir(parents=True, exist_ok=True)
    if is_main_process():
        write_text_atomically(run / RECIPE, recipe.to_yaml())
    return run


def rewind(run: Path, step: int) -> None:
    """Forget metrics that were written after the checkpoint a run goes on from."""
    write_jsonl(run / METRICS, [row for row in read_jsonl(run / METRICS) if row["step"] <= step])


def _check_same(recipe: Recipe, run: Path) -> None:
    cache = recipe.teacher and recipe.teacher.cache
    # where the cache was is not looked for: it may have been moved
    moved = [f"teacher.cache={json.dumps(cache)}"] if cache else []
    before, now = _flat(load_recipe(run / RECIPE, moved).model_dump()), _flat(recipe.model_dump())
    differing = sorted(
        key for key in before.keys() | now.keys() if before.get(key) != now.get(key) and key not in FREE
    )
    if differing:
        shown = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in differing[:3])
        raise BadInput(
            f"--resume: {run} was started with another recipe ({shown}); resume it with its own {RECIPE}, "
            "or choose another --output"
        )


def _flat(values: object, prefix: str = "") -> dict[str, object]:
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    else:
        return {prefix: values}
    flat: dict[str, object] = {}
    for key, value in items:
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def clear(recipe: Recipe) -> None:
    """Remove what an earlier run wrote, and nothing else; the text just harvested stays."""
    if not is_main_process():
        return
    run = Path(recipe.output)
    ours = {STUDENT, ADAPTER, "data", METRICS, SAMPLES, SUMMARY, RECIPE, REPORT, OBJECTIVE, INSPECTION}
    if PYTHON_DOCS in (recipe.data.train, recipe.data.eval):
        ours.remove("data")
    unfinished = [*run.glob(".partial-checkpoint-*"), *run.glob(".random-*.safetensors")]
    for path in [run / name for name in ours] + list(run.glob("checkpoint-*")) + unfinished:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
