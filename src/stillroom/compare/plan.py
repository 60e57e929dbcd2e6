"""A comparison file: one base recipe, its variants, and the seeds that they share.

    about: what is compared, in one or two sentences
    base: small.yaml            # a recipe, relative to this file, or the recipe itself
    against: supervised KD      # the variant that the others are paired with, seed by seed
    seeds: [10, 11, 12]
    rates: [2.0e-3, 4.0e-3]     # learning rates tried on the first seed, for variants that name none
    trial: {training.max_steps: 120}
    set: {data.eval_limit: 256} # for all variants
    variants:
      supervised KD: {objectives: [logits.forward_kl]}
      hard labels: {objectives: [hard.cross_entropy], training.weight_decay: 0.0}
    paper: {base: opt.yaml, seeds: [1, 2]}  # another size: its own base, seeds, rates, trial and set

Later wins: base, set, variant, trial, command line. Keys are those of a recipe, dotted ones reach inside. `${assets}`
in a value is the folder of the models that come with the package. `seed` and `output` of the base are replaced.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from stillroom.core.errors import BadInput
from stillroom.recipe import strict_yaml
from stillroom.recipe.load import load_recipe
from stillroom.recipe.overrides import apply_sets
from stillroom.recipe.problems import did_you_mean, shown, wrong
from stillroom.recipe.schema import Number, Recipe, Section, Whole
from stillroom.recipe.sentences import place, sentence

SIZES = ("small", "paper")
OWNED = {"seed": "--seeds", "output": "--output"}
"""Keys of a recipe that the comparison sets for every run, and where they come from."""
Changes = dict[str, Any]


def _path_or_recipe(value: Any) -> Any:
    if isinstance(value, str | dict) and value:
        return value
    raise wrong(f"expected the path of a recipe, or a recipe, got {shown(value)}")


Rates = list[Annotated[Number, Field(gt=0)]]
Seeds = Annotated[list[Annotated[Whole, Field(ge=0, lt=2**32)]], Field(min_length=1)]


class Size(Section):
    """What belongs to one size of a comparison, and is not taken over by another."""

    base: Annotated[Any, AfterValidator(_path_or_recipe)]
    seeds: Seeds
    rates: Rates = Field(default_factory=list)
    trial: Changes = Field(default_factory=dict)
    set: Changes = Field(default_factory=dict)


class Plan(Size):
    """A comparison, read and checked. `base` is a mapping once it is read."""

    about: str
    against: str
    variants: Annotated[dict[str, Changes], Field(min_length=1)]
    paper: Size | None = None


def read_plan(path: Path, size: str = "small") -> Plan:
    """The comparison in a file; `BadInput` with file and line where it is malformed.

    `size` "paper" puts the section `paper` in the place of base, seeds, rates, trial and set.
    """
    document = strict_yaml.read(path)
    if document.duplicates:
        raise BadInput("\n".join(document.duplicates))
    try:
        plan = Plan.model_validate(document.values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise BadInput(
            "\n".join(place(d["loc"], document.origins) + _sentence(d) for d in details)
        ) from error
    if plan.against not in plan.variants:
        where = place(("against",), document.origins)
        raise BadInput(f"{where}no variant {plan.against!r}{did_you_mean(plan.against, plan.variants)}")
    if size == "paper":
        if plan.paper is None:
            raise BadInput(f"{path} has no section paper; leave --size out, or add one with base and seeds")
        plan = plan.model_copy(update=dict(plan.paper))
    for changes in (plan.set, plan.trial, *plan.variants.values()):
        if taken := OWNED.keys() & changes.keys():
            raise BadInput(f"{path}: {min(taken)} is set by the comparison for every run; take it out")
    return plan.model_copy(update={"base": _base(plan.base, path), "seeds": list(dict.fromkeys(plan.seeds))})


def resolve(
    plan: Plan, variant: str, seed: int, output: Path, changes: Mapping[str, Any], sets: Sequence[str]
) -> Recipe:
    """The recipe of one run. `changes` come after those of the variant, `sets` ("a.b=c") after all.

    Raises `BadInput`, which names the variant, where the result is no valid recipe.
    """
    document = strict_yaml.Document(copy.deepcopy(plan.base))
    try:
        for each in (plan.set, plan.variants[variant], changes):
            apply_sets(document, [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in each.items()])
        apply_sets(document, sets)
        values = _with_assets(document.values)
        return load_recipe(values=values | {"seed": seed, "output": str(output)})
    except BadInput as error:
        lines = str(error).splitlines()
        raise BadInput("\n".join(f"variant {variant!r}: {line}" for line in lines)) from error


def fixed_rate(plan: Plan, variant: str, sets: Sequence[str]) -> bool:
    """Whether a variant has a learning rate of its own, so that none is searched."""
    rate = "training.learning_rate"
    inside = plan.variants[variant].get("training") or {}
    given = rate in plan.variants[variant] or "learning_rate" in inside
    return not plan.rates or given or any(text.partition("=")[0].strip() == rate for text in sets)


def _base(base: str | dict[str, Any], path: Path) -> dict[str, Any]:
    if not isinstance(base, str):
        return base
    values = strict_yaml.read(path.parent / base).values
    if not isinstance(values, dict):
        raise BadInput(f"{path.parent / base}: expected a recipe, keys such as student: and data: at the top")
    return values


def _with_assets(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_assets(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_assets(inner) for inner in value]
    if isinstance(value, str):
        return value.replace("${assets}", str(files("stillroom") / "assets"))
    return value


def _sentence(details: Any) -> str:
    """The sentences of recipes, but for unknown keys: those of a comparison are others."""
    if details["type"] != "extra_forbidden":
        return sentence(details)
    section = Size if details["loc"][0] == "paper" else Plan
    return f"unknown key{did_you_mean(str(details['loc'][-1]), section.model_fields)}"
