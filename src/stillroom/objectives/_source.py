"""Settings of an objective from its source text: lists and checks of recipes stay free of torch.

A setting is an annotated field in the body of the class or of the classes it descends from; its docstring is
the string below it. Names of bases are followed through `from ... import ...`.
"""

import ast
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput

ROOT = ("stillroom.core.objective", "Objective")


@dataclass(frozen=True)
class Setting:
    """One field of an objective.

    `type` is its annotation as written; `default` a value, its source text where it is no literal, or
    `REQUIRED`.
    """

    REQUIRED = "(required)"

    name: str
    type: str
    default: Any
    doc: str


def read_settings(module: str, class_name: str = "") -> list[Setting] | None:
    """Settings of the objective of a module, inherited ones first; None where there is no such module."""
    tree = _parse(module)
    if tree is None:
        return None
    lineages = {
        node.name: lineage
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not _is_abstract(node)
        if (lineage := _lineage(module, node.name)) is not None
    }
    wanted = [class_name] if class_name else list(lineages)
    if len(wanted) != 1 or wanted[0] not in lineages:
        listed = ", ".join(lineages) or "no objective"
        raise BadInput(f"{module} defines {listed}: name one as {module}:ClassName")
    found: dict[str, Setting] = {}
    for node in lineages[wanted[0]]:
        found.update({each.name: each for each in _fields(node)})
    return list(found.values())


def read_summary(module: str) -> str | None:
    """First line of the docstring of a module, "" where it has none; None where there is no such module."""
    tree = _parse(module)
    return None if tree is None else (ast.get_docstring(tree) or "").partition("\n")[0]


def _parse(module: str) -> ast.Module | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return _tree(spec.origin, Path(spec.origin).stat().st_mtime_ns)


@lru_cache(maxsize=256)  # a comparison of a hundred runs reads the same few files thousands of times
def _tree(path: str, _changed: int) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"), filename=path)


def _lineage(module: str, name: str) -> list[ast.ClassDef] | None:
    """Class bodies from the oldest ancestor below `Objective` to the class; None for what is no objective."""
    if (module, name) == ROOT:
        return []
    tree = _parse(module)
    for node in tree.body if tree else []:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _lineage(node.module, alias.name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            for base in node.bases:
                above = _lineage(module, base.id) if isinstance(base, ast.Name) and base.id != name else None
                if above is not None:
                    return [*above, node]
    return None


def _is_abstract(node: ast.ClassDef) -> bool:
    decorators = [
        each for part in node.body if isinstance(part, ast.FunctionDef) for each in part.decorator_list
    ]
    return any(ast.unparse(each).endswith("abstractmethod") for each in decorators)


def _fields(node: ast.ClassDef) -> list[Setting]:
    fields = []
    for part, below in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        annotation = ast.unparse(part.annotation)
        if annotation.startswith("ClassVar"):
            continue
        doc = (
            below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
        )
        fields.append(Setting(part.target.id, annotation, _default(part.value), " ".join(str(doc).split())))
    return fields


def _default(value: ast.expr | None) -> Any:
    if value is None:
        return Setting.REQUIRED
    try:
        return ast.literal_eval(value)
    except ValueError:
        return ast.unparse(value)
