"""Documented things of one Python source file, read with `ast`: names, signatures and cleaned docstrings.

Nothing is imported or executed. Cleaning keeps prose: examples, tables, directives and field lists end a
docstring (or leave its head), reST roles become plain code marks.
"""

import ast
import inspect
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["module", "class", "function", "method"]

_ROLE = re.compile(r":[a-z]+(?::[a-z]+)?:`~?([^`<]+?)(?:\s*<[^>]*>)?`")
_DOUBLE_MARKS = re.compile(r"``(.+?)``")
# Sections where the prose ends and lists of fields, examples or references begin.
_SECTION = re.compile(
    r"^(args|(keyword )?arguments|parameters|returns?|yields?|raises|examples?|attributes|methods|notes?"
    r"|see also|references|usage)\s*:?$",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"^\s*(>>>|\.\. |\+[-=]{3}|\|.*\||:(param|type|returns?|rtype|raises?)\b|@\w+|\$\w+:|[-=*#~]{4,})",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Documented:
    """One documented thing. `signature` holds arguments, or the bases of a class, in parentheses."""

    kind: Kind
    name: str
    signature: str
    text: str


def documented(source: str, module: str, limit: int) -> Iterator[Documented]:
    """Everything with a docstring in `source`, in the order of the text; raises `SyntaxError` as `ast` does.

    `limit` bounds a cleaned docstring, in characters.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in the source of others are not ours to report
        tree = ast.parse(source)
    yield from _documented("module", module, "", ast.get_docstring(tree, clean=False), limit)
    yield from _inside(tree, module, "function", limit)


def clean(docstring: str, limit: int) -> str:
    """The prose at the head of a docstring: whole paragraphs, at most `limit` characters, or nothing."""
    kept: list[str] = []
    length = 0
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = [line.rstrip() for line in paragraph.split("\n")]
        if _SECTION.match(lines[0].strip()) or _is_underlined(lines):
            if kept:
                break
            continue
        if _NOISE.search(paragraph):
            if kept:
                break
            continue
        text = plain(unwrapped(lines))
        if length + len(text) > limit:
            break
        kept.append(text)
        length += len(text) + 2
    return _without_dangling_end("\n\n".join(kept).strip())


def plain(text: str) -> str:
    """reST code marks to single ones: ":func:`~json.dumps`" and "``x``" become "`json.dumps`" and "`x`"."""
    return _DOUBLE_MARKS.sub(r"`\1`", _ROLE.sub(r"`\1`", text))


def unwrapped(lines: list[str]) -> str:
    """One paragraph as one line, unless its lines mean something: indented text, lists."""
    if any(line.startswith((" ", "- ", "* ", "|")) for line in lines):
        return "\n".join(lines)
    return " ".join(lines)


def _inside(scope: ast.AST, path: str, kind: Kind, limit: int) -> Iterator[Documented]:
    for node in getattr(scope, "body", []):
        if isinstance(node, ast.If | ast.Try):  # definitions that depend on the platform
            yield from _inside(node, path, kind, limit)
        elif isinstance(node, ast.ClassDef):
            name = f"{path}.{node.name}"
            yield from _documented("class", name, _bases(node), ast.get_docstring(node, clean=False), limit)
            yield from _inside(node, name, "method", limit)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{path}.{node.name}"
            yield from _documented(kind, name, _signature(node), ast.get_docstring(node, clean=False), limit)


def _documented(kind: Kind, name: str, signature: str, raw: str | None, limit: int) -> Iterator[Documented]:
    text = clean(raw, limit) if raw else ""
    if text:
        yield Documented(kind, name, signature, text)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Arguments without `self`; a long list is cut at a space."""
    shown = re.sub(r"^(self|cls)(, |$)", "", ast.unparse(node.args))
    return f"({textwrap.shorten(shown, 80, placeholder=' ...')})"


def _bases(node: ast.ClassDef) -> str:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    return f"({textwrap.shorten(bases, 80, placeholder=' ...')})" if bases else ""


def _is_underlined(lines: list[str]) -> bool:
    return len(lines) > 1 and bool(re.match(r"^\s*([-=*~^#])\1{2,}\s*$", lines[1]))


def _without_dangling_end(text: str) -> str:
    """Drop a last paragraph that only announces what was cut ("Example:", "for instance::")."""
    while text.endswith(":"):
        text = text.rpartition("\n\n")[0].rstrip()
    return text
