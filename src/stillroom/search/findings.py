"""What a search came to, as plain values for JSON: every trial, the best one, and what a reader must be told."""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillroom.core.record import SUMMARY, read_summary
from stillroom.search.space import Range, Space
from stillroom.search.study import MAXIMIZED, Memory
from stillroom.search.trials import spread

_EDGE = 0.02  # of a range, on its own scale


def findings(space: Space, memory: Memory, output: Path, reasons: Mapping[int, str]) -> dict[str, Any]:
    """`reasons` are those of this session; earlier failures have left theirs beside the logs."""
    trials = []
    for trial in memory.ended():
        row = {"number": trial.number, "values": dict(trial.params), "value": trial.value}
        row |= _costs(output / f"trial-{trial.number:03d}")
        if trial.value is None:
            why = output / "logs" / f"trial-{trial.number:03d}.why"
            row["reason"] = reasons.get(trial.number) or (why.read_text().strip() if why.exists() else "")
        trials.append(row)
    best = _best(trials, space.metric in MAXIMIZED)
    return {
        "about": space.about,
        "metric": space.metric,
        "better": "higher" if space.metric in MAXIMIZED else "lower",
        "sampler": space.sampler,
        "seed": space.seed,
        "asked": memory.total,
        "space": {key: each.model_dump(exclude_defaults=True) for key, each in space.space.items()},
        "trial": space.trial,
        "held_out": _held_out(space),
        "best": best,
        "words": words(best["values"]) if best else "",
        "importance": memory.importance(),
        "cautions": _cautions(space, trials, best),
        "trials": trials,
    }


def words(values: Mapping[str, Any]) -> str:
    """For the command line of `stillroom distill`."""
    settings = [f"{key}={json.dumps(value)}" for key, value in spread(values).items()]
    return " ".join(f"--set {shlex.quote(each)}" for each in settings)


def _best(trials: Sequence[Mapping[str, Any]], maximize: bool) -> dict[str, Any] | None:
    """The first of equal ones."""
    sign = -1.0 if maximize else 1.0
    good = [trial for trial in trials if trial["value"] is not None]
    if not good:
        return None
    best = min(good, key=lambda trial: (sign * trial["value"], trial["number"]))
    return {key: best[key] for key in ("number", "values", "value")}


def _costs(folder: Path) -> dict[str, float]:
    if not (folder / SUMMARY).exists():
        return {}
    summary = read_summary(folder)
    return {"steps": summary.steps, "seconds": summary.seconds}


def _held_out(space: Space) -> str:
    data = space.base.get("data") or {}
    source = data.get("eval") or data.get("train")
    split = data.get("eval_split")
    return f"{source}, {split}" if split else str(source)


def _cautions(space: Space, trials: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None) -> list[str]:
    sentences = [
        f"The settings were chosen on the held-out text ({_held_out(space)}), so its numbers flatter them. It must "
        "not be a test set: report results on text that took no part in the search.",
        f"Every trial has seed {space.seed} alone; trials that differ by less than two seeds do are equal.",
    ]
    if space.trial:
        changed = ", ".join(f"{key}={value}" for key, value in space.trial.items())
        sentences.append(
            f"Trials were shortened ({changed}); what is best in short runs may not be in long ones."
        )
    if failed := [trial for trial in trials if trial["value"] is None]:
        sentences.append(f"{len(failed)} of {len(trials)} trials failed.")
    for key, value in (best or {"values": {}})["values"].items():
        if _at_edge(space.space[key], value):
            sentences.append(
                f"The best {key}, {value:.4g}, lies at the edge of its range; widen it and look there."
            )
    return sentences


def _at_edge(searched: Range, value: Any) -> bool:
    if searched.choice is not None or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high, place = (float(each) for each in (*searched.ends(), value))
    if searched.is_log:
        low, high, place = math.log(low), math.log(high), math.log(place)
    share = (place - low) / (high - low)
    return share < _EDGE or share > 1 - _EDGE
