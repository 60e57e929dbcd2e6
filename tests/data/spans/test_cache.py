import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stillroom.data.spans.cache import Cached, default_file
from stillroom.data.spans.segmentation import Segmenter, Spans
from stillroom.data.spans.windows import Windows

TEXTS = ["one two three four", "", "éa 我", "one two three four"]


class Counting(Segmenter):
    """Windows that remember what they were asked."""

    def __init__(self, identity: str = "counting 1", known: bool = True) -> None:
        self.identity = identity
        self.asked: list[str] = []
        self._known = known

    def cut(self, texts):
        self.asked += texts
        return [Spans(each.words, each.phrases, each.labels, self._known) for each in Windows().cut(texts)]


def same(found: list[Spans], expected: list[Spans]) -> bool:
    return all(
        (one.words.tolist(), one.phrases.tolist(), one.labels, one.known)
        == (other.words.tolist(), other.phrases.tolist(), other.labels, other.known)
        and one.words.shape == other.words.shape
        and one.words.dtype == other.words.dtype
        for one, other in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("known", [True, False])
def test_what_was_cut_once_is_read(tmp_path: Path, known: bool) -> None:
    file = tmp_path / "deep" / "spans.sqlite"
    first, second = Counting(known=known), Counting(known=known)
    cached = Cached(first, file)
    expected = Counting(known=known).segment(TEXTS)
    assert same(cached.segment(TEXTS), expected)
    assert (first.asked, cached.computed) == (TEXTS[:3], 3)
    again = Cached(second, file)
    assert same(again.segment([*TEXTS, "new"]), [*expected, *Counting(known=known).segment(["new"])])
    assert (second.asked, again.computed) == (["new"], 1)


def test_another_identity_is_another_cut(tmp_path: Path) -> None:
    Cached(Counting("a 1"), tmp_path / "s").segment(TEXTS)
    other = Counting("a 2")
    Cached(other, tmp_path / "s").segment(TEXTS)
    assert other.asked == TEXTS[:3]
    assert Cached(other).identity == "a 2"


@pytest.mark.parametrize("damage", [b"no database at all" * 100, b""])
def test_damaged_files_are_no_error(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "s"
    file.write_bytes(damage)
    assert same(Cached(Counting(), file).segment(TEXTS), Counting().segment(TEXTS))


@pytest.mark.parametrize("value", [b"junk", None, 7, "text"])
def test_damaged_values_are_computed_anew(tmp_path: Path, value) -> None:
    file = tmp_path / "s"
    Cached(Counting(), file).segment(TEXTS)
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute("UPDATE spans SET value = ?", (value,))
    assert same(Cached(Counting(), file).segment(TEXTS), Counting().segment(TEXTS))
    third = Cached(Counting(), file)
    third.segment(TEXTS)
    assert third.computed == 0


def test_a_place_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "file" / "spans.sqlite", tmp_path / "folder"):
        cached = Cached(Counting(), place)
        assert same(cached.segment(TEXTS), Counting().segment(TEXTS))
        assert cached.computed == 3


def test_several_processes_write_at_a_time(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from stillroom.data.spans.cache import Cached;"
        "from stillroom.data.spans.windows import Windows;"
        "n = int(sys.argv[2]);"
        "[Cached(Windows(), Path(sys.argv[1])).segment([f'text {i} of all', f'text {n} {i}']) for i in range(30)]"
    )
    file = tmp_path / "s"
    started = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", script, str(file), str(number)])
        for number in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    with closing(sqlite3.connect(file)) as opened:
        assert opened.execute("SELECT count(*) FROM spans").fetchone() == (30 + 3 * 30,)


def test_nothing_lies_beside_the_file(tmp_path: Path) -> None:
    """A write-ahead log would: it cannot be read where nothing can be written, nor shared over a network."""
    Cached(Counting(), tmp_path / "s").segment(TEXTS)
    with closing(sqlite3.connect(tmp_path / "s")) as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert [each.name for each in tmp_path.iterdir()] == ["s"]


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("STILLROOM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_file() == tmp_path / ".cache" / "stillroom" / "spans.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path / "x"))
    assert default_file() == tmp_path / "x" / "stillroom" / "spans.sqlite"
    monkeypatch.setenv("STILLROOM_CACHE", os.fspath(tmp_path / "own"))
    assert default_file() == tmp_path / "own" / "spans.sqlite"
