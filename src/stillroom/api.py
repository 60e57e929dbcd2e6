"""The Python door: what the command line does, as functions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stillroom.core.progress import Display
from stillroom.core.record import REPORT, RunSummary
from stillroom.recipe.load import load_recipe
from stillroom.recipe.schema import Recipe

if TYPE_CHECKING:
    from stillroom.recipe.cache import Cached


def distill(
    *,
    student: str,
    teacher: str | None = None,
    data: str,
    eval: str | None = None,
    objectives: Sequence[str | Mapping[str, Any]] = ("logits.forward_kl",),
    output: str,
    training: Mapping[str, Any] | None = None,
    seed: int = 10,
    preflight: Literal["refuse", "note", "off"] = "refuse",
    resume: bool = False,
    overwrite: bool = False,
    display: Display | None = None,
    **sections: Mapping[str, Any],
) -> RunSummary:
    """Distil `teacher` into `student` and return the summary of the run; everything else lies in the folder `output`.

    Models are folders or Hub names, `data` and `eval` files or Hub names. `objectives` are catalog names, import
    paths, or mappings with settings. `preflight` is what happens to a teacher that is none (`teacher.preflight`).
    `training` holds fields of `transformers.TrainingArguments`; `sections` are other parts of a recipe:
    `evaluation={"prompts": 20}`, and `data_settings` for the keys beside `data.train`.

    >>> from stillroom import distill
    >>> run = distill(student="small", teacher="large", data="train.jsonl", output="runs/first")  # doctest: +SKIP
    >>> run.final["perplexity"]  # doctest: +SKIP
    """
    settings = dict(sections)
    values = {
        "student": {"model": student},
        **({"teacher": {"model": teacher, "preflight": preflight}} if teacher else {}),
        "data": {"train": data, "eval": eval, **settings.pop("data_settings", {})},
        "objectives": [each if isinstance(each, str) else dict(each) for each in objectives],
        "training": dict(training or {}),
        "seed": seed,
        "output": output,
        **settings,
    }
    recipe = load_recipe(values=values)
    return run(recipe, resume=resume, overwrite=overwrite, display=display)


def inspect(target: str | Path, **settings: Any) -> Path:
    """Look inside the run in a folder, or a recipe before it is run: interference, features, heads, landscape.

    Settings are those of `stillroom.recipe.inspect.inspect`: `only`, `batches`, `samples`, `points`, `directions`,
    `against`, `reach`, `sentence`, `layers`, `seed`, `output`, `display`. Returns the path of inspection.json, which
    the report shows; `stillroom.core.inspection.read_inspection` reads it.
    """
    from stillroom.recipe.inspect import inspect as look

    return look(Path(target), **settings)


def cache(recipe: Recipe, folder: str | None = None, **settings: Any) -> "Cached":
    """Keep on disk what the objectives of a recipe read of its teacher, in `folder` (default: `teacher.cache`).

    Settings are those of `stillroom.recipe.cache.write_cache`: `precision`, `shard_bytes`, `batch_size`, `repair`,
    `display`. The same recipe with `teacher: {use: cached, cache: folder}` then trains without the teacher's weights.
    """
    from stillroom.recipe.cache import write_cache

    return write_cache(recipe, folder, **settings)


def run(
    recipe: Recipe,
    *,
    name: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    display: Display | None = None,
) -> RunSummary:
    """Run a recipe and write its report. A report that cannot be written does not take the result away."""
    from stillroom.recipe.folder import is_main_process
    from stillroom.recipe.run import run_recipe
    from stillroom.report.page import write_report

    summary = run_recipe(recipe, name=name, resume=resume, overwrite=overwrite, display=display)
    folder = Path(recipe.output)
    if not is_main_process():
        return summary
    try:
        write_report([folder], folder / REPORT)
    except Exception as error:
        summary.notes.append(f"The report could not be written: {error}")
        if display is not None:
            display.say(summary.notes[-1])
    return summary
