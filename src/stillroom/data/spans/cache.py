"""Spans that were computed once, in one SQLite file that several processes may read and write at a time.

    key      identity of the segmenter, SHA-256 of the text
    value    JSON, compressed: distances between ends of words and of phrases, labels, whether the language is known

The journal is SQLite's plain one: a write-ahead log does not work on network file systems, and a finished cache on a
read-only one could not be opened.

A cache that cannot be read or written (a full disk, a home that is read-only, a damaged file) is never an error: what
is not in it is computed.
"""

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from stillroom.data.spans.segmentation import Segmenter, Spans

TABLE = """
CREATE TABLE IF NOT EXISTS spans (
    segmenter TEXT, text BLOB, value BLOB, PRIMARY KEY (segmenter, text)
) WITHOUT ROWID
"""
PATIENCE = 10.0
"""Seconds to wait for another process that writes."""


class Cached(Segmenter):
    """Asks `segmenter` only for texts that are not in `file` yet."""

    def __init__(self, segmenter: Segmenter, file: Path | None = None) -> None:
        self._segmenter = segmenter
        self._file = default_file() if file is None else file
        self.identity = segmenter.identity
        self._keeps = True
        self.computed = 0
        """Different texts that were not in the file, so far."""

    def cut(self, texts: Sequence[str]) -> list[Spans]:
        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        found = self._read(keys)
        absent = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if absent:
            made = dict(zip(absent, self._segmenter.cut(list(absent.values())), strict=True))
            if self._keeps:
                self._write(made)
            self.computed += len(made)
            found |= made
        return [found[key] for key in keys]

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Spans]:
        if not self._file.exists():
            return {}
        marks = ", ".join("?" * len(keys))
        query = f"SELECT text, value FROM spans WHERE segmenter = ? AND text IN ({marks})"
        try:
            with closing(sqlite3.connect(self._file, timeout=PATIENCE)) as opened:
                rows = opened.execute(query, (self.identity, *keys)).fetchall()
            return {key: _unpacked(value) for key, value in rows}
        except (sqlite3.Error, OSError, zlib.error, ValueError, KeyError, TypeError):
            return {}

    def _write(self, made: dict[bytes, Spans]) -> None:
        rows = [(self.identity, key, _packed(spans)) for key, spans in made.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=PATIENCE)) as opened, opened:
                opened.execute(TABLE)
                opened.executemany("INSERT OR REPLACE INTO spans VALUES (?, ?, ?)", rows)
        except (sqlite3.Error, OSError):
            self._keeps = False  # or every block would wait for it again


def default_file() -> Path:
    """`spans.sqlite` in $STILLROOM_CACHE, else in `stillroom` of $XDG_CACHE_HOME or of ~/.cache."""
    own = os.environ.get("STILLROOM_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "stillroom"
    return folder.expanduser() / "spans.sqlite"


def _packed(spans: Spans) -> bytes:
    value = {
        "words": np.diff(spans.words.reshape(-1), prepend=0).tolist(),
        "phrases": np.diff(spans.phrases.reshape(-1), prepend=0).tolist(),
        "labels": spans.labels,
        "known": spans.known,
    }
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode())


def _unpacked(value: bytes) -> Spans:
    read = json.loads(zlib.decompress(value))
    words, phrases = (np.array(read[name], np.int64).cumsum().reshape(-1, 2) for name in ("words", "phrases"))
    return Spans(words, phrases, tuple(read["labels"]), read["known"])
