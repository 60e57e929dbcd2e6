"""A comparison file: one base recipe, its variants, and the seeds that they share.

    about: what is compared, in one or two sentences
    base: small.yaml            # a recipe, relative to this file, or the recipe itself
    against: supervised KD      # the others are paired with this one, seed by seed (default: hard labels)
    baseline: true              # add "hard labels" where no variant learns from text alone; false: do not
    seeds: [10, 11, 12]
    rates: [2.0e-3, 4.0e-3]     # learning rates tried on the first seed, for variants that name none
    trial: {training.max_steps: 120}
    set: {data.eval_limit: 256} # for all variants
    variants:
      supervised KD: {objectives: [logits.forward_kl]}
      weak decay: {training.weight_decay: 0.0}
    test: {on: {dolly: null}, protocol: clean}  # exams that the trained students sit once
    tiny: {seeds: [10], set: {training.max_steps: 40}}  # another size; what it leaves out is as above
    paper: {base: opt.yaml, seeds: [1, 2]}  # another size: its own base, seeds, rates, trial and set
    answers: 12                 # prompts on the page, with what every variant answers; 0: none of the text is shown
    published: {rows: {...}}    # numbers of others, shown beside these; minutes: {tiny: 4} is what a size takes

Later wins: base, set, variant, trial, command line. Keys are those of a recipe, dotted ones reach inside. `${assets}`
in a value is the folder of the models that come with the package. `seed` and `output` of the base are replaced.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from stillroom.core.errors import BadInput
from stillroom.recipe import strict_yaml
from stillroom.recipe.load import load_recipe
from stillroom.recipe.overrides import apply_sets
from stillroom.recipe.problems import did_you_mean, shown, wrong
from stillroom.recipe.schema import Number, Recipe, Section, Whole
from stillroom.recipe.sentences import place, sentence

SIZES = ("small", "tiny", "paper")
"""Sizes of one comparison; small is what stands at the top of the file."""
HARD_LABELS = "hard labels"
AS_IN_RECIPE = "as in the recipe"
OWNED = {"seed": "--seeds", "output": "--output"}
"""Keys of a recipe that the comparison sets for every run, and where they come from."""
Changes = dict[str, Any]


def _path_or_recipe(value: Any) -> Any:
    if isinstance(value, str | dict) and value:
        return value
    raise wrong(f"expected the path of a recipe, or a recipe, got {shown(value)}")


def _names_without_files(value: Any) -> Any:
    return dict.fromkeys(value) if isinstance(value, list) else value


Base = Annotated[Any, AfterValidator(_path_or_recipe)]
Rates = list[Annotated[Number, Field(gt=0)]]
Seeds = Annotated[list[Annotated[Whole, Field(ge=0, lt=2**32)]], Field(min_length=1)]


class Test(Section):
    """Exams after training: each student sits them once, teacher and untrained student once for all."""

    on: Annotated[dict[str, str | None], BeforeValidator(_names_without_files), Field(min_length=1)]
    """Names of exams, each with a local file, or null for the known place of that exam."""
    protocol: Literal["clean", "minillm"] = "clean"
    limit: Annotated[Whole, Field(ge=1)] | None = None
    """Questions of each exam at most; null: all."""
    prompts: Annotated[Whole, Field(ge=0)] | None = None
    """Prompts that are answered in an exam of texts; null: all. Likelihood is that of all references in any case."""
    metrics: list[str] | None = None
    """What is reported; null: everything that the exams measure."""
    shots: dict[str, Annotated[Whole, Field(ge=0)]] = Field(default_factory=dict)
    """Examples before a question, by exam; the exam's own number where it is not named."""


class Size(Section):
    """What belongs to one size of a comparison, and is not taken over by another."""

    base: Base
    seeds: Seeds
    rates: Rates = Field(default_factory=list)
    trial: Changes = Field(default_factory=dict)
    set: Changes = Field(default_factory=dict)
    test: Test | None = None
    """Null in the section `paper`: the exams of the file."""


class Tiny(Section):
    """A size that takes over what it does not say. Its `set` and `trial` come after those of the file."""

    base: Base = None
    seeds: Seeds | None = None
    rates: Rates | None = None
    trial: Changes = Field(default_factory=dict)
    set: Changes = Field(default_factory=dict)
    test: Test | None = None
    variants: Annotated[list[str], Field(min_length=1)] | None = None
    """Only these."""


class Plan(Size):
    """A comparison, read and checked. `base` is a mapping and `against` a variant once it is read."""

    about: str
    against: str = ""
    baseline: bool = True
    variants: Annotated[dict[str, Changes], Field(min_length=1)]
    tiny: Tiny | None = None
    paper: Size | None = None
    published: dict[str, Any] = Field(default_factory=dict)
    minutes: dict[str, Number] = Field(default_factory=dict)
    answers: Annotated[Whole, Field(ge=0)] = 12
    """Prompts whose answers stand side by side on the page; 0 where their text is not to be published."""


def read_plan(path: Path, size: str = "small") -> Plan:
    """The comparison in a file, at one of `SIZES`; `BadInput` with file and line where it is malformed."""
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
    if plan.against not in (known := [*plan.variants, "", HARD_LABELS]):
        where = place(("against",), document.origins)
        raise BadInput(f"{where}no variant {plan.against!r}{did_you_mean(plan.against, known[:-2])}")
    plan = _at_size(plan, size, path)
    for changes in (plan.set, plan.trial, *plan.variants.values()):
        if taken := OWNED.keys() & changes.keys():
            raise BadInput(f"{path}: {min(taken)} is set by the comparison for every run; take it out")
    return settled(plan.model_copy(update={"base": _base(plan.base, path)}))


def settled(plan: Plan) -> Plan:
    """With the variant that the others are paired with; one that learns from text alone is added if there is none.

    `base` must be a mapping. `BadInput` where `baseline` is false and nothing says what to pair with.
    """
    alone = [name for name in plan.variants if _learns_from_text_alone(plan, name)]
    variants = dict(plan.variants)
    if not alone and plan.baseline:
        if HARD_LABELS in variants:
            raise BadInput(
                f"the variant {HARD_LABELS!r} has objectives that are not hard.*; name it otherwise, or say "
                "baseline: false"
            )
        alone, variants = [HARD_LABELS], {HARD_LABELS: {"objectives": ["hard.cross_entropy"]}, **variants}
    against = plan.against or next(iter(alone), "")
    if against not in variants:
        named = f"no variant {against!r}" if against else "missing"
        raise BadInput(f"against: {named}; name one of {', '.join(variants)}, or leave out baseline: false")
    seeds = list(dict.fromkeys(plan.seeds))
    return plan.model_copy(update={"variants": variants, "against": against, "seeds": seeds})


def _at_size(plan: Plan, size: str, path: Path) -> Plan:
    if size not in SIZES:
        raise BadInput(f"--size {size}: expected one of {', '.join(SIZES)}")
    if size == "small":
        return plan
    section = plan.paper if size == "paper" else plan.tiny
    if section is None:
        needs = "base and seeds" if size == "paper" else "what is smaller, such as set and seeds"
        raise BadInput(f"{path} has no section {size}; leave --size out, or add one with {needs}")
    if isinstance(section, Size):
        update = dict(section) | {"test": section.test or plan.test}
        return plan.model_copy(update=update)
    given = {key: value for key, value in dict(section).items() if value is not None}
    given |= {"set": plan.set | section.set, "trial": plan.trial | section.trial}
    if section.variants is not None:
        if unknown := [name for name in section.variants if name not in plan.variants]:
            raise BadInput(f"{path}: tiny.variants: no variant {unknown[0]!r}")
        kept = {*section.variants, plan.against}
        given["variants"] = {name: each for name, each in plan.variants.items() if name in kept}
    return plan.model_copy(update=given)


def _learns_from_text_alone(plan: Plan, variant: str) -> bool:
    try:
        objectives = _values(plan, variant, {}, ()).get("objectives")
    except BadInput:
        return False  # said with all that is wrong when the recipes are resolved
    listed = objectives if isinstance(objectives, list) else [objectives]
    uses = [each.get("use") if isinstance(each, dict) else each for each in listed]
    return all(str(use).startswith("hard.") for use in uses)


def resolve(
    plan: Plan, variant: str, seed: int, output: Path, changes: Mapping[str, Any], sets: Sequence[str]
) -> Recipe:
    """The recipe of one run. `changes` come after those of the variant, `sets` ("a.b=c") after all.

    Raises `BadInput`, which names the variant, where the result is no valid recipe.
    """
    try:
        values = _values(plan, variant, changes, sets)
        return load_recipe(values=values | {"seed": seed, "output": str(output)})
    except BadInput as error:
        lines = str(error).splitlines()
        raise BadInput("\n".join(f"variant {variant!r}: {line}" for line in lines)) from error


def _values(plan: Plan, variant: str, changes: Mapping[str, Any], sets: Sequence[str]) -> dict[str, Any]:
    document = strict_yaml.Document(copy.deepcopy(plan.base))
    for each in (plan.set, plan.variants[variant], changes):
        apply_sets(document, [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in each.items()])
    apply_sets(document, sets)
    return _with_assets(document.values)


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
    loc = details["loc"]
    section = Test if "test" in loc[:-1] else {"paper": Size, "tiny": Tiny}.get(str(loc[0]), Plan)
    return f"unknown key{did_you_mean(str(loc[-1]), section.model_fields)}"
