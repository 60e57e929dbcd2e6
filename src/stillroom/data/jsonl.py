"""JSON lines, read strictly: every complaint says file, line and byte offset.

A byte order mark, CRLF line ends, blank lines and a missing last newline are accepted. Refused are truncated
lines, invalid UTF-8, NUL bytes, values that are not objects, and records above a size bound, which are never
held in memory.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from stillroom.core.errors import BadInput

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json_lines(path: Path, max_record_bytes: int) -> Iterator[tuple[str, dict[str, Any] | BadInput]]:
    """Place (file:line) and object of every line that is not blank; for a bad line its `BadInput`.

    The problems are yielded, not raised, so that the caller may skip the record and go on.
    """
    with path.open("rb") as file:
        offset = len(BYTE_ORDER_MARK) if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
        file.seek(offset)
        number = 0
        # One byte above the bound tells a record that is too long from one that just fits.
        while line := file.readline(max_record_bytes + 1):
            number += 1
            place, size = f"{path}:{number}", len(line)
            if size > max_record_bytes and not line.endswith(b"\n"):
                size += _rest_of_line(file)
                problem = f"{place}: a record of {size:,} bytes is over the bound of {max_record_bytes:,}"
                yield place, BadInput(problem + "; split it into several records.")
            elif line.strip():
                try:
                    yield place, _parse(place, offset, line)
                except BadInput as error:
                    yield place, error
            offset += size


def decode(place: str, start: int, content: bytes) -> str:
    """UTF-8 text of `content`, starting at byte `start` of its file; `BadInput` for NUL and invalid bytes."""
    if (nul := content.find(b"\0")) >= 0:
        raise BadInput(
            f"{place}: NUL byte at byte offset {start + nul}; expected UTF-8 text, so save the file as UTF-8 "
            "or fetch it again."
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{place}: invalid UTF-8 at byte offset {start + error.start} (0x{content[error.start]:02x}); "
            "save the file as UTF-8."
        ) from error


def _parse(place: str, start: int, line: bytes) -> dict[str, Any]:
    text = decode(place, start, line)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        offset = start + len(text[: error.pos].encode())
        cut = "" if line.endswith(b"\n") else " (no newline follows, so the file seems to be truncated)"
        raise BadInput(
            f"{place}: expected one JSON object a line, got broken JSON at byte offset {offset}: "
            f"{error.msg}{cut}; mend the line, or set on_bad_record to skip."
        ) from error
    except RecursionError as error:
        raise BadInput(f"{place}: the JSON is nested too deeply; a record holds text, not trees.") from error
    if not isinstance(value, dict):
        raise BadInput(
            f"{place}: expected one JSON object a line, got a {type(value).__name__} at byte offset {start}; "
            'write {"prompt": ..., "completion": ...} or the like.'
        )
    return value


def _rest_of_line(file: BinaryIO) -> int:
    """Read on to the end of the line in small bites; returns the number of bytes passed over."""
    passed = 0
    while bite := file.readline(1 << 20):
        passed += len(bite)
        if bite.endswith(b"\n"):
            break
    return passed
