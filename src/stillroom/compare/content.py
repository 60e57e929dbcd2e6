"""What compare.json holds, from what lies on disk after a comparison."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillroom.compare.collect import collect
from stillroom.compare.exam_results import add_exams
from stillroom.compare.exams import Sitting, not_examined, sittings
from stillroom.compare.portable import portable
from stillroom.compare.schedule import RATE, Run, Schedule, choose, state
from stillroom.compare.side_by_side import side_by_side


def content(
    wanted: Schedule,
    runs: Sequence[Run],
    trials: Mapping[str, Mapping[float, float]],
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """Everything but the name and the command: plain values for JSON."""
    plan = wanted.plan
    found = collect(runs, plan.against)
    found["cautions"] = _incomplete(found, runs, failed) + found["cautions"] + _unmarked(found, runs)
    found["cautions"] += _at_edges(trials)
    examined: list[Sitting] = []
    if plan.test is not None:
        examined = sittings(runs, plan.against, plan.test, wanted.output)
        add_exams(found, examined, plan.against, not_examined(runs))
    return {
        "about": plan.about,
        "against": plan.against,
        "seeds": list(wanted.seeds),
        "processor": processor(),
        **found,
        "answers": side_by_side(runs, examined, wanted.seeds[0], wanted.plan.answers),
        "trials": {name: {f"{rate:g}": loss for rate, loss in each.items()} for name, each in trials.items()},
        "failed": dict(failed),
        "published": plan.published,
        "plan": portable(plan.model_dump(exclude={"tiny", "paper", "published", "minutes"})),
    }


def _incomplete(found: Mapping[str, Any], runs: Sequence[Run], failed: Mapping[str, str]) -> list[str]:
    done = sum(len(variant["runs"]) for variant in found["variants"].values())
    if done + sum(run.folder.name in failed for run in runs) >= len(runs):
        return []
    return [f"NOT COMPLETE: {done} of {len(runs)} runs are done."]


def _unmarked(found: Mapping[str, Any], runs: Sequence[Run]) -> list[str]:
    """With fewer seeds than before, the run that measured them may no longer be among those compared."""
    wanted = any(run.recipe.evaluation.baselines for run in runs if state(run) == "done")
    if not wanted or found["marks"]:
        return []
    return [
        "Teacher and student before training were measured by a run that is not compared here: compare its seed, too, "
        "to see them."
    ]


def _at_edges(trials: Mapping[str, Mapping[float, float]]) -> list[str]:
    """A best rate at the end of the grid is the best of the grid only."""
    sentences = []
    for name, losses in trials.items():
        if len(losses) < 2:
            continue
        best = choose(losses)
        if best in (min(losses), max(losses)):
            end = "largest" if best == max(losses) else "smallest"
            sentences.append(
                f"The {RATE.partition('.')[2].replace('_', ' ')} of {name}, {best:g}, lies at the edge of those "
                f"that were tried: it is the {end} of {len(losses)}, and a better one may lie beyond."
            )
    return sentences


def processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
