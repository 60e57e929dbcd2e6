"""Settings of objectives, checked against the source of the objective, without importing torch.

Kinds of values, unknown names and required settings are checked here, and that a temperature is above zero;
finer ranges are the objective's own business when it is built, which is still before any weight is loaded.
"""

import ast
from typing import Any

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.recipe.declared import Declared, Mismatch, declare
from stillroom.recipe.problems import Problem, did_you_mean, refuse

OURS = ("use", "weight", "learning_rate")
"""Keys of the recipe beside the settings: an objective cannot have settings of these names."""


def check_settings(use: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of objective `use`, converted and with defaults; all problems at once where there are
    any."""
    try:
        declared = {setting.name: setting for setting in objectives.settings(use)}
    except BadInput as error:
        refuse([Problem(("use",), str(error))])
        raise
    taken = [name for name in OURS if name in declared]
    refuse(
        [Problem(("use",), f"{use} calls a setting {name}, a key of the recipe; rename it") for name in taken]
    )
    problems, checked = [], {}
    for name, value in given.items():
        if name not in declared:
            hint = did_you_mean(name, [*declared, *OURS])
            problems.append(Problem((name,), f"{use} has no such setting{hint}", is_unknown_key=True))
            continue
        try:
            checked[name] = _checked(name, declare(_annotation(declared[name].type)), value)
        except Mismatch as error:
            problems.append(Problem((name,), str(error)))
    for name, setting in declared.items():
        if name not in given and setting.default == objectives.Setting.REQUIRED:
            problems.append(Problem((name,), f"missing: {use} needs it ({setting.type})"))
    refuse(problems)
    return _defaults(declared) | checked


def _checked(name: str, declared: Declared, value: Any) -> Any:
    value = declared.convert(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "temperature" and is_number and value <= 0:
        raise Mismatch(f"expected a temperature above 0, got {value:g}")
    return value


def _defaults(declared: dict[str, objectives.Setting]) -> dict[str, Any]:
    """Defaults that the source spells out; one that it computes is left to the objective."""
    known = {}
    for name, setting in declared.items():
        try:
            known[name] = declare(_annotation(setting.type)).convert(setting.default)
        except Mismatch:
            continue
        if known[name] == objectives.Setting.REQUIRED:
            del known[name]
    return known


def _annotation(source: str) -> ast.expr:
    return ast.parse(source, mode="eval").body
