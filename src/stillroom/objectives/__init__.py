"""The catalog of methods: one file, one method; saving the file is the registration.

    names()                      every method, from the file names; imports nothing
    find("logits.forward_kl")    the class; a stranger's by import path, "my_package.mine" or "my_file:Mine"
    settings("logits.renyi")     its settings with types, defaults and docstrings, from the source; no torch

Here belongs what is compared; never how models are run, nor any Hugging Face class.
"""

import difflib
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.objectives._source import Setting, read_settings, read_summary

if TYPE_CHECKING:
    from stillroom.core.objective import Objective

__all__ = ["Setting", "find", "names", "settings", "summary"]


def names() -> list[str]:
    """Catalog names, "family.method", sorted."""
    files = Path(__file__).parent.glob("*/*.py")
    return sorted(f"{file.parent.name}.{file.stem}" for file in files if not file.name.startswith("_"))


def find(name: str) -> "type[Objective]":
    """The objective of that name: from the catalog, else by import path `module` or `module:Class`.

    `BadInput` where there is none or the module defines several. An error inside a stranger's module is
    raised as it is: its traceback names the line.
    """
    module_name, class_name = _split(name)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that exists but misses one of its own imports is not an unknown name.
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise _unknown(name) from error
    objectives = {key: each for key, each in vars(module).items() if _is_objective(each)}
    if class_name:
        if class_name not in objectives:
            raise BadInput(f"{module_name} has no objective called {class_name}, only {_listed(objectives)}")
        return objectives[class_name]
    own = {key: each for key, each in objectives.items() if each.__module__ == module.__name__}
    if len(own) != 1:
        raise BadInput(
            f"{module_name} defines {_listed(own)}, expected one: name it as {module_name}:ClassName"
        )
    return next(iter(own.values()))


def settings(name: str) -> list[Setting]:
    """The settings of that objective, inherited ones first, read from its source without running it."""
    module_name, class_name = _split(name)
    found = read_settings(module_name, class_name)
    if found is None:
        raise _unknown(name)
    return found


def summary(name: str) -> str:
    """The first line of the file of that objective, for lists; reads source, imports no torch."""
    found = read_summary(_split(name)[0])
    if found is None:
        raise _unknown(name)
    return found


def _split(name: str) -> tuple[str, str]:
    """Module and class ("" where none is named) of a catalog name or of an import path."""
    if name in names():
        return f"{__name__}.{name}", ""
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise _unknown(name)
    return module_name, class_name


def _is_objective(each: object) -> bool:
    from stillroom.core.objective import Objective

    return isinstance(each, type) and issubclass(each, Objective) and not inspect.isabstract(each)


def _listed(objectives: "dict[str, type[Objective]]") -> str:
    return ", ".join(objectives) or "no objective"


def _unknown(name: str) -> BadInput:
    catalog = names()
    by_method = {each.split(".")[1]: each for each in catalog}
    close = difflib.get_close_matches(name, catalog, n=3)
    close += [by_method[near] for near in difflib.get_close_matches(name.split(".")[-1], by_method, n=3)]
    hint = f"did you mean {' or '.join(dict.fromkeys(close))}?" if close else "`stillroom list` names all"
    return BadInput(
        f"unknown objective {name!r}: {hint} (your own is named by its import path, as my_package.my_file)"
    )
