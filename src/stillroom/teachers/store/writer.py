"""Fills a store: the teacher runs once over every sample that is not in it yet.

Going on after a stop, adding samples, and repairing are one thing: whole shards are kept, and what no whole shard
holds is computed. Longest samples come first, so that batches are even and memory that does not suffice shows at once.
One writer at a time, by a lock that ends with its process.
"""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance
from stillroom.core.signals import Request, Signals
from stillroom.teachers.store.answers import ONCE, pack_once, positions, request_name, to_rows
from stillroom.teachers.store.keys import keys_of, sample_key
from stillroom.teachers.store.manifest import MANIFEST, FileEntry, Manifest, differences, read_manifest
from stillroom.teachers.store.shards import KEYS, PARTIAL, ShardBuilder, faults, publish

LOCK, ONCE_FILE = ".lock", "once.safetensors"
UNFINISHED = (PARTIAL, f".{MANIFEST}.")
"""How the names of files begin that are written aside and renamed when they are whole."""
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
HALVED = ("mass", "log_probs", "log_tail")
"""Parts that "auto" stores in float16: what that costs is below what training notices (docs/teacher_cache.md)."""


class Samples(Protocol):
    """Encoded samples, as `stillroom.data.dataset` has them."""

    @property
    def lengths(self) -> Sequence[int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Ask:
    """The teacher, and how samples are brought before it."""

    answer: Callable[[Batch], Signals]
    collate: Callable[[list[Any]], Mapping[str, Tensor]]
    device: torch.device
    batch_size: int


@dataclass(frozen=True)
class Plan:
    """What a store is to hold."""

    folder: Path
    identity: Mapping[str, Any]
    requests: Collection[Request]
    samples: Samples
    precision: str = "auto"
    shard_bytes: int = 64_000_000
    versions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise BadInput(f"expected a precision of {', '.join(PRECISIONS)}, got {self.precision!r}")

    @property
    def wants_once(self) -> bool:
        """Whether answers that are the same for every sample are to be kept."""
        return any(isinstance(each, ONCE) for each in self.requests)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The right to write into `folder`; `BadInput` where another process has it, or nothing can be written there."""
    import fcntl  # Unix only, like the lock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise BadInput(
            f"no cache can be written to {folder} ({error.strerror}); choose another folder"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(
                f"another process is writing the cache {folder}; wait for it, or choose another folder"
            ) from error
        except OSError as error:
            raise BadInput(
                f"{folder} lies on a file system without locks ({error.strerror}), so a second writer would not be "
                "noticed; choose a folder on another one"
            ) from error
        yield


def open_plan(plan: Plan, *, repair: bool = False, advance: Advance | None = None) -> Manifest:
    """The manifest to go on with: that of the store in the folder, or a new one.

    `BadInput` where the store was written for something else, or a file is damaged and `repair` is not wanted.
    """
    if not (plan.folder / MANIFEST).exists():
        _check_empty(plan.folder)
        return Manifest(dict(plan.identity), plan.precision)
    manifest = read_manifest(plan.folder)
    _check_same(plan, manifest)
    found = faults(plan.folder, manifest.files, advance)
    if found and not repair:
        raise BadInput("\n".join(found.values()))
    manifest.shards = [each for each in manifest.shards if each.file not in found]
    if manifest.once is not None and manifest.once.file in found:
        manifest.once = None
    return manifest


def missing(plan: Plan, manifest: Manifest) -> list[int]:
    """Samples that no shard holds, longest first; of equal ones the first."""
    held: set[bytes] = set()
    for entry in manifest.shards:
        with safe_open(plan.folder / entry.file, framework="pt") as file:
            held |= {key.tobytes() for key in file.get_tensor(KEYS).numpy()}
    wanted: dict[bytes, int] = {}
    for index in range(len(plan.samples)):
        item = plan.samples[index]
        key = sample_key(torch.as_tensor(item["input_ids"]), torch.as_tensor(item["response_mask"]))
        if key not in held:
            wanted.setdefault(key, index)
    return sorted(wanted.values(), key=lambda index: -plan.samples.lengths[index])


def fill(plan: Plan, manifest: Manifest, indices: Sequence[int], ask: Ask, advance: Advance) -> None:
    """Compute the samples at `indices` and write them, shard by shard. Call it inside `locked`."""
    for prefix in UNFINISHED:
        for orphan in plan.folder.glob(f"{prefix}*"):
            orphan.unlink()  # of a writer that was killed
    manifest.samples = sum(each.samples for each in manifest.shards) + len(indices)
    manifest.complete, manifest.versions = False, dict(plan.versions)
    if plan.wants_once and manifest.once is None:
        signals = ask.answer(_batch([plan.samples[0]], ask))
        packed = pack_once({each: signals[each] for each in plan.requests if isinstance(each, ONCE)})
        manifest.once = FileEntry(ONCE_FILE, *publish(plan.folder / ONCE_FILE, packed))
    builder = ShardBuilder()
    for start in range(0, len(indices), ask.batch_size):
        items = [plan.samples[index] for index in indices[start : start + ask.batch_size]]
        batch = _batch(items, ask)
        _add(builder, plan, manifest, ask.answer(batch), batch)
        advance(start + len(items), len(indices), f"{(manifest.bytes + builder.bytes) / 1e6:,.1f} MB")
        if builder.bytes >= plan.shard_bytes:
            builder = _close(builder, plan.folder, manifest)
    if len(builder):
        _close(builder, plan.folder, manifest)
    manifest.complete = True
    manifest.write(plan.folder)


def _batch(items: list[Mapping[str, Any]], ask: Ask) -> Batch:
    return Batch.from_inputs({name: each.to(ask.device) for name, each in ask.collate(items).items()})


def _add(builder: ShardBuilder, plan: Plan, manifest: Manifest, signals: Signals, batch: Batch) -> None:
    """Cut the answers into samples and hand them to the shard."""
    side = batch.teacher
    cut: dict[str, Sequence[Tensor]] = {}
    for request in plan.requests:
        name, kept = request_name(request), positions(request, side)
        parts = {} if isinstance(request, ONCE) else to_rows(request, signals[request], side)
        types = {part: str(rows.dtype).removeprefix("torch.") for part, rows in parts.items()}
        if manifest.requests.setdefault(name, types) != types:
            raise BadInput(
                f"{plan.folder}: {name} was computed in {manifest.requests[name]} and is now in {types}, by other "
                "versions of the libraries; write a cache with `stillroom cache` into another folder"
            )
        counts = kept.sum(dim=1).tolist()
        for part, rows in parts.items():
            stored = _rounded(part, rows[kept], plan.precision, f"{name} about sample {_numbers(batch)}")
            cut[f"{name}/{part}"] = stored.cpu().split(counts)
    lengths, predicted = side.attention_mask.sum(dim=1).tolist(), side.predicts.sum(dim=1).tolist()
    for row, key in enumerate(keys_of(side)):
        builder.add(key, lengths[row], predicted[row], {name: parts[row] for name, parts in cut.items()})


def _rounded(part: str, rows: Tensor, precision: str, what: str) -> Tensor:
    """In the type that it is stored in; `BadInput` where the teacher or the type has no number for it."""
    if not rows.is_floating_point():
        return rows
    broken = ~rows.isfinite()
    if part.startswith("log_"):
        broken &= rows != -torch.inf  # a probability of zero
    if broken.any():
        raise BadInput(
            f"the teacher answers NaN or infinity to {what}: look at that text, at the teacher's weights, or at the "
            "precision it is computed in"
        )
    if precision == "auto":
        rounded = rows.to(torch.float16) if part in HALVED else rows
    else:
        rounded = rows.to(getattr(torch, precision))
    if (rounded.isinf() & ~rows.isinf()).any():
        raise BadInput(
            f"{what} holds {float(rows.abs().max()):.3g}, more than {rounded.dtype} can; store it in bfloat16 or "
            "float32 (--precision)"
        )
    return rounded


def _close(builder: ShardBuilder, folder: Path, manifest: Manifest) -> ShardBuilder:
    """Write the shard under the first free number, note it in the manifest, and begin another."""
    taken = {each.file for each in manifest.shards}
    names = (f"shard-{number:05d}.safetensors" for number in itertools.count())
    name = next(each for each in names if each not in taken)
    manifest.shards.append(builder.write(folder / name))
    manifest.write(folder)
    return ShardBuilder()


def _numbers(batch: Batch) -> str:
    return ", ".join(map(str, batch.sample_ids.tolist()))


def _check_same(plan: Plan, manifest: Manifest) -> None:
    wanted = {**plan.identity, "precision.stored": plan.precision}
    wanted["requests"] = sorted(map(request_name, plan.requests))
    stored = {**manifest.identity, "precision.stored": manifest.precision}
    stored["requests"] = sorted(manifest.requests) or wanted["requests"]
    if sentences := differences(plan.folder, stored, wanted):
        raise BadInput("\n".join(sentences))


def _check_empty(folder: Path) -> None:
    strange = [each.name for each in folder.iterdir() if each.name != LOCK] if folder.is_dir() else []
    if any(not name.startswith((*UNFINISHED, ONCE_FILE, "shard-")) for name in strange):
        raise BadInput(
            f"{folder} holds other files ({', '.join(sorted(strange)[:3])}) and no {MANIFEST}; give an empty folder"
        )
