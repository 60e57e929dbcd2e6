"""The manifest of a store: what its answers depend on, what it holds, and the hash of every file.

Written anew after each shard, so that a killed writer loses at most the shard it was at.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass
class FileEntry:
    """A file of the store as it must be found again."""

    file: str
    bytes: int
    sha256: str
    samples: int = 0
    tokens: int = 0
    """Real tokens of its samples."""
    predicted: int = 0
    """Positions that predict a trained token."""


@dataclass
class Manifest:
    """The content of manifest.json."""

    identity: dict[str, Any]
    """What every answer depends on; each field must be the same where the store is used."""
    precision: str
    """How answers are stored: "auto", "float32", "bfloat16" or "float16"."""
    requests: dict[str, dict[str, str]] = field(default_factory=dict)
    """Every request with the types that its parts are computed in, which answers come back in."""
    shards: list[FileEntry] = field(default_factory=list)
    once: FileEntry | None = None
    """Answers that are the same for every sample, where they are asked for."""
    complete: bool = False
    samples: int = 0
    """Samples that it holds when complete."""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def files(self) -> list[FileEntry]:
        return [*self.shards, *([self.once] if self.once else [])]

    @property
    def tokens(self) -> int:
        return sum(each.tokens for each in self.shards)

    @property
    def bytes(self) -> int:
        return sum(each.bytes for each in self.files)

    def write(self, folder: Path) -> None:
        write_text_atomically(folder / MANIFEST, json.dumps(asdict(self), indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store; `BadInput` where there is none, or it cannot be read."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BadInput(
            f"{folder} is not a cache: it has no {MANIFEST}; give the folder that `stillroom cache` wrote"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != FORMAT:
            raise BadInput(
                f"{path} has the format {content.get('format')!r}, expected {FORMAT}: it was written by another "
                "version of stillroom; write the cache anew with `stillroom cache`"
            )
        content["shards"] = [FileEntry(**each) for each in content["shards"]]
        content["once"] = FileEntry(**content["once"]) if content["once"] else None
        return Manifest(**content)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path} cannot be read as the manifest of a cache ({error}); remove the folder and write the cache "
            "anew with `stillroom cache`"
        ) from error


def differences(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """One sentence for every field of the identity in which a store and a recipe differ.

    A field that the recipe's side cannot know here is None there and not compared.
    """
    sentences = []
    for name in sorted(stored.keys() | wanted.keys()):
        ours, theirs = wanted.get(name), stored.get(name)
        if (ours is None and name in wanted) or ours == theirs:
            continue
        sentences.append(
            f"{folder}: {name}: the cache was written with {_shown(theirs)}, the recipe has {_shown(ours)}; change the "
            "recipe back, or write a cache for it with `stillroom cache` into another folder"
        )
    return sentences


def _shown(value: Any) -> str:
    return "nothing" if value is None else repr(value)
