"""Trials of a search as runs: one recipe each, resolved like those of a comparison, measured on held-out text alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stillroom.compare.plan import OWNED, Plan, resolve
from stillroom.compare.schedule import Run
from stillroom.core.errors import BadInput
from stillroom.recipe.schema import Recipe
from stillroom.search.space import Space

_VARIANT = "search"


def trial_run(space: Space, number: int, values: Mapping[str, Any], output: Path, sets: Sequence[str]) -> Run:
    """The run of trial `number`, in `output`/trial-003. `BadInput` where the values make no recipe."""
    measured = {
        "evaluation.metrics": list(dict.fromkeys(["loss", space.metric])),
        "evaluation.baselines": False,
        **({} if space.metric == "rouge_l" else {"evaluation.prompts": 0}),
        "training.save_strategy": "no",
    }
    words = (*sets, *(f"{key}={json.dumps(value)}" for key, value in measured.items()))
    changes = {**space.trial, **spread(values)}
    return Run(f"trial {number}", space.seed, _resolve(space, output / f"trial-{number:03d}", changes, words))


def best_recipe(space: Space, values: Mapping[str, Any], output: Path, sets: Sequence[str]) -> Recipe:
    """The recipe with what was found, without the budget of the trials."""
    return _resolve(space, output, spread(values), sets)


def spread(values: Mapping[str, Any]) -> dict[str, Any]:
    """By single key: "a.b, c.d" is one suggestion for two settings."""
    return {key.strip(): value for keys, value in values.items() for key in keys.split(",")}


def check(space: Space, output: Path, sets: Sequence[str]) -> None:
    """`BadInput` for keys and values that make no recipe, each end of each range on its own, before anything is run."""
    for key in [text.partition("=")[0].strip() for text in sets]:
        if key in OWNED:
            raise BadInput(f"--set {key}: the search sets it for every trial; use {OWNED[key].rstrip('s')}")
        if key in spread(space.space):
            raise BadInput(f"--set {key}: this is searched; take it out of --set or out of the space")
    for key, each in space.space.items():
        for value in each.ends():
            trial_run(space, 0, {key: value}, output, sets)


def _resolve(space: Space, folder: Path, changes: Mapping[str, Any], sets: Sequence[str]) -> Recipe:
    plan = Plan(
        about=space.about,
        base=space.base,
        against=_VARIANT,
        seeds=[space.seed],
        set=space.set,
        variants={_VARIANT: {}},
    )
    try:
        return resolve(plan, _VARIANT, space.seed, folder, changes, sets)
    except BadInput as error:
        raise BadInput(str(error).replace(f"variant {_VARIANT!r}: ", "")) from error
