"""The language reference that ships with Python (`pydoc_data/topics.py`), read as source, in pieces."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from stillroom.data._docstrings import unwrapped

_HEADING = re.compile(r"^(?P<title>\S.*)\n([*=\-~^\"])\2{2,}$", re.MULTILINE)


def topic_pieces(path: Path, limit: int) -> Iterator[tuple[str, int, str]]:
    """Title of a section, number of the piece in it (from 1), and its text of at most `limit` characters.

    Topics overlap ("compound" contains "while"), so the same section can come twice; who collects, compares.
    """
    for topic in _read(path).values():
        headings = list(_HEADING.finditer(topic))
        ends = [heading.start() for heading in headings[1:]] + [len(topic)]
        for heading, end in zip(headings, ends, strict=True):
            pieces = _pieces(topic[heading.end() : end], limit)
            for number, piece in enumerate(pieces, start=1):
                yield heading["title"].strip().rstrip("¶"), number, piece


def _read(path: Path) -> dict[str, str]:
    """The dictionary assigned in the file; empty where the file is absent or is no plain dictionary."""
    if not path.exists():
        return {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            return ast.literal_eval(node.value)
    return {}


def _pieces(text: str, limit: int) -> list[str]:
    """Whole paragraphs, gathered until the next would not fit; a paragraph over the limit is left out."""
    pieces: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        paragraph = unwrapped([line.rstrip() for line in paragraph.split("\n")]).strip("\n")
        if not paragraph.strip() or len(paragraph) > limit:
            continue
        if pieces and len(pieces[-1]) + len(paragraph) + 2 <= limit:
            pieces[-1] += "\n\n" + paragraph
        else:
            pieces.append(paragraph)
    return pieces
