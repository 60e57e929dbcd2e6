"""Stores are whole or refused: stopped, killed, damaged, extended, locked, of something else."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from teachers.stores import REQUESTS, ask, batch_of, cached_teacher, live_teacher, plan, write
from tiny import TinyDataset, tiny_llama

from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, Hidden, Logits, QueryKey, Signals, TopTokens
from stillroom.teachers.live import LiveTeacher
from stillroom.teachers.store.answers import check_storable, request_name
from stillroom.teachers.store.manifest import read_manifest
from stillroom.teachers.store.reader import Store
from stillroom.teachers.store.shards import fault
from stillroom.teachers.store.writer import locked

torch.set_num_threads(1)
DATA = TinyDataset(16)


def hashes(folder: Path) -> dict[str, str]:
    return {each.file: each.sha256 for each in read_manifest(folder).files}


class Stopped(Exception):
    pass


def stopping(teacher, after: int):
    """A teacher whose user presses Ctrl-C."""
    calls = 0

    def answer(batch) -> Signals:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Stopped
        return teacher.answer(batch, REQUESTS)

    return replace(ask(teacher, batch_size=2), answer=answer)


def test_a_stopped_writer_goes_on_and_ends_with_the_same_answers(tmp_path):
    teacher = live_teacher()
    with pytest.raises(Stopped):
        write(plan(tmp_path, DATA), stopping(teacher, 5))
    before = hashes(tmp_path)
    assert before, "at least one shard was whole"
    with pytest.raises(BadInput, match=r"unfinished: [0-9]+ of 16 samples"):
        Store(tmp_path)
    _, computed = write(plan(tmp_path, DATA), ask(teacher, batch_size=2))
    assert 0 < computed < 16
    assert before.items() <= hashes(tmp_path).items(), "whole shards are kept"
    signals = cached_teacher(tmp_path).answer(batch_of(DATA, list(range(16))), (FinalHidden(), Head()))
    assert signals[FinalHidden()].isfinite().all()
    assert write(plan(tmp_path, DATA), ask(teacher))[1] == 0


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_shards(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from dataclasses import replace
        from pathlib import Path
        from teachers.stores import REQUESTS, ask, live_teacher, plan, write
        from tiny import TinyDataset
        teacher = live_teacher()
        def slow(batch):
            time.sleep(0.2)
            return teacher.answer(batch, REQUESTS)
        write(plan(Path(sys.argv[1]), TinyDataset(16)), replace(ask(teacher, batch_size=1), answer=slow))
    """)
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "c"], env={**os.environ, "PYTHONPATH": path}
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "c" / "manifest.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (tmp_path / "c" / ".partial-left.safetensors").write_bytes(b"half")
    manifest = read_manifest(tmp_path / "c")
    assert not manifest.complete
    assert all(fault(tmp_path / "c", each) is None for each in manifest.files)
    before = hashes(tmp_path / "c")
    _, computed = write(plan(tmp_path / "c", DATA), ask(live_teacher(), batch_size=1))
    assert 0 < computed < 16
    assert before.items() <= hashes(tmp_path / "c").items()
    assert not list((tmp_path / "c").glob(".partial-*"))
    assert Store(tmp_path / "c").manifest.complete


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
@pytest.mark.parametrize("what", ["shard-00001.safetensors", "once.safetensors"])
def test_damage_is_refused_by_name_and_repaired_alone(tmp_path, damage, what):
    teacher = live_teacher()
    write(plan(tmp_path, DATA), ask(teacher))
    before, path = hashes(tmp_path), tmp_path / what
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content) if damage == "flip" else bytes(content[:-9]))
    if damage == "remove":
        path.unlink()
    for act in (lambda: Store(tmp_path), lambda: write(plan(tmp_path, DATA), ask(teacher))):
        with pytest.raises(BadInput, match=f"{what}.*--repair"):
            act()
    _, computed = write(plan(tmp_path, DATA), ask(teacher), repair=True)
    held = sum(each.samples for each in read_manifest(tmp_path).shards if each.file == what)
    assert computed == held
    after = hashes(tmp_path)
    assert {name: after[name] for name in before if name != what} == {
        name: digest for name, digest in before.items() if name != what
    }
    Store(tmp_path)


def test_new_samples_are_added_and_equal_ones_are_kept_once(tmp_path):
    teacher, larger = live_teacher(), TinyDataset(16)
    larger.items += [*TinyDataset(4, seed=7).items, dict(larger.items[0], sample_ids=99)]
    larger.lengths = [len(item["input_ids"]) for item in larger.items]
    write(plan(tmp_path, DATA), ask(teacher))
    manifest, computed = write(plan(tmp_path, larger), ask(teacher))
    assert computed == 4
    assert manifest.samples == 20
    cached_teacher(tmp_path).answer(batch_of(larger, list(range(21))), REQUESTS)


def test_one_writer_at_a_time(tmp_path):
    with locked(tmp_path), pytest.raises(BadInput, match="another process is writing"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_answers_that_change_their_type_on_the_way_are_refused(tmp_path):
    requests = (Hidden(1),)
    write(plan(tmp_path, DATA, requests=requests), ask(live_teacher(), requests))
    other = LiveTeacher(tiny_llama(2, width=32).bfloat16(), vocab_size=35)
    with pytest.raises(
        BadInput, match=r"Hidden\(layer=1\) was computed in .*float32.* and is now in .*bfloat16"
    ):
        write(plan(tmp_path, TinyDataset(4, seed=7), requests=requests), ask(other, requests))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(BadInput, match="no cache can be written to"), locked(folder):
            pass


def test_a_manifest_that_was_being_written_is_no_other_file(tmp_path):
    (tmp_path / ".manifest.json.abc").write_text("half")
    write(plan(tmp_path, DATA), ask(live_teacher()))
    assert not (tmp_path / ".manifest.json.abc").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"identity": {"who": "other"}}, "who: the cache was written with 'tiny', the recipe has 'other'"),
        ({"precision": "bfloat16"}, "precision.stored: the cache was written with 'auto'"),
        ({"requests": (Hidden(1),)}, "requests: the cache was written with"),
        ({"precision": "int8"}, "expected a precision of"),
    ],
)
def test_a_store_of_something_else_is_not_written_to(tmp_path, changes, says):
    teacher = live_teacher()
    write(plan(tmp_path, DATA), ask(teacher))
    with pytest.raises(BadInput, match=says):
        write(plan(tmp_path, DATA, **changes), ask(teacher))


def test_folders_with_other_files_are_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(BadInput, match="holds other files"):
        write(plan(tmp_path, DATA), ask(live_teacher()))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_answers_are_as_exact_as_the_precision_they_are_stored_in(tmp_path, precision):
    requests = (Hidden(2),)
    write(plan(tmp_path, DATA, precision=precision, requests=requests), ask(live_teacher(), requests))
    batch = batch_of(DATA, [0, 1, 2])
    ours = cached_teacher(tmp_path).answer(batch, requests)[Hidden(2)]
    theirs = live_teacher().answer(batch, requests)[Hidden(2)]
    real = batch.teacher.attention_mask.bool()
    assert ours.dtype == torch.float32
    error = ((ours - theirs)[real].abs() / theirs[real].abs().clamp(min=1e-3)).max()
    assert error < {"float32": 1e-4, "bfloat16": 2**-8 * 1.01, "float16": 2**-11 * 1.2}[precision]


def test_what_does_not_fit_the_precision_or_is_no_number_is_refused(tmp_path):
    requests, large = (Hidden(1),), torch.full((1, 1, 4), 1e6)

    def answering(value):
        def answer(batch):
            return Signals({Hidden(1): value.expand(*batch.teacher.input_ids.shape, 4)})

        return replace(ask(live_teacher(), requests), answer=answer)

    with pytest.raises(BadInput, match=r"Hidden\(layer=1\) about sample .* holds 1e\+06.*bfloat16"):
        write(plan(tmp_path / "a", DATA, precision="float16", requests=requests), answering(large))
    for broken in (torch.nan, torch.inf):
        with pytest.raises(BadInput, match="answers NaN or infinity"):
            write(plan(tmp_path / "b", DATA, requests=requests), answering(large * broken))


@pytest.mark.parametrize("request_", [Logits(), QueryKey(1)])
def test_what_is_too_large_to_store_is_refused(request_):
    with pytest.raises(BadInput, match=r"teacher\.use: live"):
        check_storable((FinalHidden(), request_))


def test_equal_requests_have_one_name():
    assert request_name(TopTokens(4, 2)) == request_name(TopTokens(4, 2.0))


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": 7}', '{"format": 1, "shards": [{"x": 1}], "once": null}']
)
def test_a_manifest_that_cannot_be_read_is_one_sentence(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(BadInput, match=r"manifest\.json"):
        Store(tmp_path)
