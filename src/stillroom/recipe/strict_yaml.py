"""YAML as people mean it: the core schema of YAML 1.2 for scalars, and nothing that surprises.

`1e-5` is a number, `no` and `on` are words, `010` is ten, a date is text. Refused: duplicate keys, anchors
and aliases (they can blow up a small file), tags, more than one document, files above a megabyte, deep
nesting. Every value knows the line it came from. Written on PyYAML's scanner and composer; its constructors
are not used.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, ClassVar

import yaml

from stillroom.core.errors import BadInput
from stillroom.recipe.problems import Path, dotted

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

_SCALARS = {  # tag suffix -> (pattern, first characters)
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (r"[-+]?[0-9]{1,300}|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


@dataclass
class Document:
    """Plain values, where each of them stands (`recipe.yaml:12`), and the duplicate keys as finished
    sentences."""

    values: Any
    origins: dict[Path, str] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(
                problem="anchors and aliases are not allowed", problem_mark=event.start_mark
            )
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(
                problem=f"tags ({event.tag}) are not allowed", problem_mark=event.start_mark
            )
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"nested deeper than {MAX_DEPTH}", problem_mark=event.start_mark
            )
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what any reader of YAML, ours included, could take for something other than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})$"), list(_first)
        )


def read(path: FilePath) -> Document:
    """The document in a file; `BadInput` with file, line, column and the line itself where it is
    malformed."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadInput(
                f"{path} has {size:,} bytes; a recipe has at most {MAX_BYTES:,}. Is this the right file?"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is not UTF-8 text: byte {error.start} cannot be read. Save it as UTF-8."
        ) from error
    except OSError as error:
        raise BadInput(f"cannot read the recipe {path.absolute()}: {error.strerror}.") from error
    return parse(text, str(path))


def parse(text: str, source: str, *, has_lines: bool = True) -> Document:
    """The document in `text`; `source` names it in messages, with a line where `has_lines`."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise BadInput(_malformed(error, text, source, has_lines)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(
            f"{source}:{line}: the character {chr(error.character)!r} is not allowed in YAML."
        ) from error
    document = Document(None)
    document.values = None if node is None else _plain(node, (), document, source, has_lines)
    return document


def dump(values: Any) -> str:
    """Block-style YAML that `parse` reads back as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _plain(node: yaml.Node, path: Path, document: Document, source: str, has_lines: bool) -> Any:
    document.origins[path] = f"{source}:{node.start_mark.line + 1}" if has_lines else source
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, i), document, source, has_lines) for i, item in enumerate(node.value)]
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise BadInput(f"{source}:{line}: expected text as a key, got a list or a mapping.")
        key, inner = str(key_node.value), (*path, key_node.value)
        if key in content:
            first = document.origins[inner].rpartition(":")[2]
            document.duplicates.append(
                f"{source}:{line}: {dotted(inner)}: given twice, first at line {first}; keep one of them."
            )
        content[key] = _plain(value_node, inner, document, source, has_lines)
        if has_lines:
            document.origins[inner] = f"{source}:{line}"
    return content


def _scalar(node: yaml.ScalarNode) -> Any:
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _malformed(error: yaml.MarkedYAMLError, text: str, source: str, has_lines: bool) -> str:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "malformed"
    if mark is None or not has_lines:
        return f"{source}: {problem}."
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else "the end of the file"
    return f"{source}:{mark.line + 1}:{mark.column + 1}: {problem}, here: {line[:100]}"
