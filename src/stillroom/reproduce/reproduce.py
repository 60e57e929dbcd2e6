"""One experiment of a paper, run at a scale: `comparison.yaml`, the runs, and our numbers beside the paper's.

The text of the small sizes is read from the installation once, not once a run. What is written is a plain comparison
with one page more: `reproduction.md`, and the same as the key `reproduction` in compare.json.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stillroom.compare.compare import run_comparison, write
from stillroom.compare.plan import Plan, read_plan
from stillroom.compare.schedule import schedule, slug
from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically
from stillroom.recipe import strict_yaml
from stillroom.reproduce.catalog import find
from stillroom.reproduce.experiment import Experiment, read_experiment
from stillroom.reproduce.page import page
from stillroom.reproduce.side_by_side import not_found, side_by_side
from stillroom.reproduce.text_once import read_text_once

COMPARISON = "comparison.yaml"
PAGE = "reproduction.md"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """`exit` is that of the comparison: "done", "failed" or "stopped". `text` is the page, empty if nothing was run."""

    exit: str
    text: str
    content: dict[str, Any]


def reproduce(
    name: str,
    scale: str = "tiny",
    output: Path | None = None,
    *,
    jobs: int = 1,
    seeds: Sequence[int] = (),
    sets: Sequence[str] = (),
    only: Sequence[str] = (),
    exam_words: Sequence[str] = (),
    command: str = "",
    say: Say = print,
) -> Reproduction:
    """Run `sharp/table6`, or an experiment file of your own; finished runs are kept, so a stopped one goes on.

    Raises `BadInput` before the first run for whatever can be known before it.
    """
    experiment, folder = prepare(name, scale, output)
    schedule(_plan(experiment, folder), folder, only, seeds, sets)  # every recipe, before the text is read
    read_text_once(experiment.comparison["base"], folder, say)
    plan = _plan(experiment, folder)
    outcome = run_comparison(
        plan,
        folder,
        jobs=jobs,
        only=only,
        seeds=seeds,
        sets=sets,
        exam_words=exam_words,
        command=command,
        say=say,
    )
    if not outcome.content:
        return Reproduction(outcome.exit, "", {})
    text = _beside(experiment, outcome.content, outcome.path, name, scale)
    return Reproduction(outcome.exit, text, outcome.content)


def prepare(name: str, scale: str, output: Path | None = None) -> tuple[Experiment, Path]:
    """The experiment and its folder; writes nothing."""
    entry = find(name)
    if entry.kind != "experiment":
        verb = "search" if entry.kind == "search" else "distill"
        file = f"{entry.path.stem}.yaml"
        raise BadInput(
            f"{name} is for `stillroom {verb}`: write it out with `stillroom reproduce {name} --show > {file}`, then "
            f"`stillroom {verb} {file}`"
        )
    return read_experiment(entry.path, scale), output or Path("runs") / f"{slug(entry.name)}-{scale}"


def preview(
    name: str,
    scale: str,
    output: Path | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] = (),
    sets: Sequence[str] = (),
) -> list[str]:
    """The names of the runs that would be made, all recipes checked; writes the comparison file alone."""
    experiment, folder = prepare(name, scale, output)
    wanted = schedule(_plan(experiment, folder), folder, only, seeds, sets)
    trials = [run for each in wanted.trials().values() for run in each.values()]
    return [run.folder.name for run in (*trials, *wanted.runs({}))]


def _plan(experiment: Experiment, folder: Path) -> Plan:
    path = folder / COMPARISON
    write_text_atomically(path, strict_yaml.dump(experiment.comparison))
    return read_plan(path)


def _beside(experiment: Experiment, content: dict[str, Any], path: Path, name: str, scale: str) -> str:
    published = experiment.published
    pairs = side_by_side(content, published, scale) if published else []
    ran = any(variant["runs"] for variant in content["variants"].values())
    content["cautions"] += (missing := not_found(pairs, ran))
    against = (published.against if published else None) or content["against"]
    text = page(name, published, pairs, against, scale, missing)
    content["reproduction"] = {
        "scale": scale,
        **(published.model_dump(exclude={"rows"}) if published else {}),
        "pairs": [pair.plain() for pair in pairs],
    }
    write(content, path)  # the page shows them, too
    write_text_atomically(path.parent / PAGE, text)
    return text
