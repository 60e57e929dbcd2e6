"""A comparison from one recipe and a list of objectives: what `stillroom compare RECIPE --objectives a,b` means."""

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.compare.plan import AS_IN_RECIPE, HARD_LABELS, Plan, Test, settled
from stillroom.core.errors import BadInput
from stillroom.recipe.problems import did_you_mean

_ALONE = ["hard.cross_entropy"]


def plan_from_objectives(
    recipe_values: Mapping[str, Any],
    objectives: Sequence[str],
    seeds: Sequence[int],
    *,
    rates: Sequence[float] = (),
    test: Test | None = None,
    against: str = "",
    about: str = "",
) -> Plan:
    """One variant for each of `objectives`: "logits.forward_kl", or several as "logits.forward_kl+attention.sharp".

    The recipe's own objectives are one more, and hard labels are always among them; with these all are paired unless
    `against` names another variant. One that names the recipe's own objectives has the recipe's settings. `BadInput`
    for malformed names; unknown ones are refused when the recipes are resolved.
    """
    own = _uses(recipe_values.get("objectives"))
    variants: dict[str, dict[str, Any]] = {}
    for text in objectives:
        uses = [part.strip() for part in text.split("+")]
        if not all(uses):
            raise BadInput(
                f"--objectives {text!r}: a name is missing; write a,b for two variants, a+b for one"
            )
        variants[_name(uses)] = {} if uses == own else {"objectives": uses}
    if own and {} not in variants.values():
        variants = {HARD_LABELS if own == _ALONE else AS_IN_RECIPE: {}, **variants}
    if against and against not in (known := [*variants, HARD_LABELS]):
        raise BadInput(f"--against {against}: no such variant{did_you_mean(against, known)}")
    plan = Plan(
        about=about or "Objectives on one recipe: same start, same order of the data, same tokens.",
        base=dict(recipe_values),
        against=against,
        seeds=list(seeds),
        rates=list(rates),
        variants=variants or {HARD_LABELS: {"objectives": _ALONE}},
        test=test,
    )
    return settled(plan)


def _name(uses: Sequence[str]) -> str:
    return HARD_LABELS if uses == _ALONE else "+".join(uses)


def _uses(own: Any) -> list[str]:
    listed = own if isinstance(own, list) else [own] if own else []
    return [str(each.get("use") if isinstance(each, dict) else each) for each in listed]
