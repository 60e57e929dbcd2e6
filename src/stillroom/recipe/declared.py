"""Fields of a dataclass as its source declares them, so that nothing heavy is imported to check a value.

Reads annotations with `ast`. Understood: int, float, bool, str, None, list, dict, Literal, unions of these,
and enums whose members are given; any other annotation admits every value, and the class itself has the last
word.
"""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stillroom.recipe.problems import nearest, shown

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "None": "null",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
}


class Mismatch(ValueError):
    """A value of the wrong kind; the message is one sentence without the place."""


@dataclass(frozen=True)
class Declared:
    """What one field admits: kinds in words ("a number"), and the choices where only some words are
    allowed."""

    kinds: tuple[str, ...] = ()
    choices: tuple[Any, ...] = ()

    def convert(self, value: Any) -> Any:
        """The value in the declared kind: "1e-5" becomes a number where one is expected; else `Mismatch`."""
        if isinstance(value, float) and not math.isfinite(value):
            raise Mismatch(f"expected a finite number, got {value}")
        if not self.kinds and not self.choices:
            return value
        if any(value == choice and type(value) is type(choice) for choice in self.choices):
            return value
        for kind in self.kinds:
            converted = _as(kind, value)
            if converted is not _NOT:
                return converted
        raise Mismatch(self._mismatch(value))

    def _mismatch(self, value: Any) -> str:
        words = [choice if isinstance(choice, str) else shown(choice) for choice in self.choices]
        hint = nearest(value, words) if isinstance(value, str) else ""
        if len(words) > 15 and hint:
            return f"there is no {shown(value)} among its {len(words)} choices{hint}"
        listed = [f"one of {', '.join(words)}"] if words else []
        return f"expected {' or '.join([*listed, *self.kinds])}, got {shown(value)}{hint}"


def declare(annotation: ast.expr, enums: Mapping[str, tuple[str, ...]] | None = None) -> Declared:
    """What a field with this annotation admits. `enums` maps class names to their words; a `str` beside an
    enum is the enum spelled out, so it admits those words only."""
    kinds: list[str] = []
    choices: list[Any] = []
    parts = list(_union(annotation))
    for part in parts:
        name = ast.unparse(part.value if isinstance(part, ast.Subscript) else part).rpartition(".")[2]
        if name == "Literal" and isinstance(part, ast.Subscript):
            inner = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
            choices += [ast.literal_eval(item) for item in inner]
        elif enums and name in enums:
            choices += enums[name]
        elif name in _KINDS:
            kinds.append(_KINDS[name])
        else:
            return Declared()
    if enums and any(ast.unparse(part) in enums for part in parts):
        kinds = [kind for kind in kinds if kind != "text"]
    return Declared(tuple(dict.fromkeys(sorted(kinds, key=list(_KINDS.values()).index))), tuple(choices))


def fields_of(node: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    """Annotated names in a class body, in order; class variables and private names are not fields."""
    return {
        item.target.id: item
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not item.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(item.annotation)
    }


_NOT = object()


def _as(kind: str, value: Any) -> Any:
    """The value as that kind, or `_NOT`. A boolean is never a number; numbers may come as text."""
    if kind == "a whole number":
        return _number(value, whole=True)
    if kind == "a number":
        return _number(value, whole=False)
    classes = {"true or false": bool, "text": str, "null": type(None), "a list": list, "a mapping": dict}
    return value if isinstance(value, classes[kind]) else _NOT


def _number(value: Any, *, whole: bool) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return _NOT
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return _NOT
    if not math.isfinite(number):
        return _NOT
    if isinstance(value, int):
        return value
    if whole:
        return int(number) if number.is_integer() else _NOT
    return number


def _union(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return _union(ast.parse(annotation.value, mode="eval").body)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*_union(annotation.left), *_union(annotation.right)]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Optional"):
        return [*_union(annotation.slice), ast.Constant(None)]
    return [annotation]
