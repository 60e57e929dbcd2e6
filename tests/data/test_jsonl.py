import json
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.jsonl import read_json_lines

GOOD = b'{"prompt": "a", "completion": "b"}'
ROW = {"prompt": "a", "completion": "b"}


def read(tmp_path: Path, content: bytes, bound: int = 1000) -> list[tuple[str, dict | BadInput]]:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    return list(read_json_lines(path, bound))


@pytest.mark.parametrize(
    "content",
    [
        GOOD + b"\n" + GOOD + b"\n",
        GOOD + b"\n" + GOOD,
        GOOD + b"\r\n" + GOOD + b"\r\n",
        b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD,
        GOOD + b"\n\n   \n" + GOOD + b"\n\n",
    ],
    ids=["plain", "no last newline", "CRLF", "byte order mark", "blank lines"],
)
def test_harmless_variations_read_the_same(tmp_path: Path, content: bytes) -> None:
    assert [row for _, row in read(tmp_path, content)] == [ROW, ROW]


def test_places_count_blank_lines(tmp_path: Path) -> None:
    assert [place[-1] for place, _ in read(tmp_path, GOOD + b"\n\n" + GOOD)] == ["1", "3"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (GOOD[:-5], "truncated"),
        (b'{"prompt": "caf\xe9"}\n', "invalid UTF-8 at byte offset 50 (0xe9)"),
        (b'{"prompt": "a\0b"}\n', "NUL byte at byte offset 48"),
        (b'["a", "b"]\n', "got a list"),
        (b'{"prompt" 1}\n', "broken JSON at byte offset 45"),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        (b"null\n", "got a NoneType"),
    ],
)
def test_bad_line_is_named_with_its_place(tmp_path: Path, line: bytes, words: str) -> None:
    (_, good), (place, problem) = read(tmp_path, GOOD + b"\n" + line, 1_000_000)
    assert good == ROW
    assert isinstance(problem, BadInput)
    assert place == f"{tmp_path / 'data.jsonl'}:2"
    assert str(problem).startswith(place)
    assert words in str(problem)


def test_offset_counts_bytes_also_behind_a_byte_order_mark(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + '{"prompt": "é"}\n{"prompt": "é", x}\n'.encode()
    problem = read(tmp_path, content)[1][1]
    assert f"byte offset {content.index(b'x')}:" in str(problem)


def test_long_record_is_refused_with_its_size_and_reading_goes_on(tmp_path: Path) -> None:
    long = json.dumps({"prompt": "x" * 2_000_000}).encode()
    (_, problem), (place, row) = read(tmp_path, long + b"\n" + GOOD, 1_000_000)
    assert isinstance(problem, BadInput)
    assert f"{len(long) + 1:,} bytes is over the bound of 1,000,000" in str(problem)
    assert (place[-1], row) == ("2", ROW)


def test_record_of_exactly_the_bound_is_read(tmp_path: Path) -> None:
    assert [row for _, row in read(tmp_path, GOOD + b"\n" + GOOD, len(GOOD))] == [ROW, ROW]
