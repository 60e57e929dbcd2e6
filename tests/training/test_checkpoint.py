"""A checkpoint is whole or absent, and a damaged one is never used."""

import pytest
import torch
from torch import nn

from stillroom.core.errors import BadInput
from stillroom.training import checkpoint
from stillroom.training.state import load_state, save_state


def write(run, step):
    with checkpoint.publish(run / f"checkpoint-{step}") as folder:
        (folder / "a.bin").write_bytes(b"x" * step)


def test_nested_state_survives_the_round_trip(tmp_path):
    state = {"state": {0: {"step": torch.tensor(3.0), "name": "a"}}, "list": [1, (2, None)], "flag": True}
    save_state(tmp_path / "s.safetensors", state)
    loaded = load_state(tmp_path / "s.safetensors")
    assert torch.equal(loaded["state"][0].pop("step"), state["state"][0].pop("step"))
    assert loaded == state


def test_what_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(TypeError, match="object"):
        save_state(tmp_path / "s.safetensors", {"x": object()})


def test_a_killed_save_leaves_no_checkpoint(tmp_path):
    with pytest.raises(KeyboardInterrupt), checkpoint.publish(tmp_path / "checkpoint-1"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
def test_the_newest_undamaged_checkpoint_is_found(tmp_path, damage):
    write(tmp_path, 10)
    write(tmp_path, 20)
    path = tmp_path / "checkpoint-20" / ("MANIFEST.json" if damage == "manifest" else "a.bin")
    if damage == "flip":
        path.write_bytes(b"y" * 20)
    elif damage == "truncate":
        path.write_bytes(b"x" * 3)
    else:
        path.unlink()
    found, reasons = checkpoint.newest(tmp_path)
    assert found == tmp_path / "checkpoint-10"
    assert len(reasons) == 1
    assert "checkpoint-20" in reasons[0]


def test_retention_keeps_the_newest_and_touches_no_strangers(tmp_path):
    for step in (1, 2, 10):
        write(tmp_path, step)
    (tmp_path / "checkpoint-0").mkdir()
    checkpoint.retain(tmp_path, 2)
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "checkpoint-0",
        "checkpoint-2",
        "checkpoint-10",
    ]


def test_retention_spares_the_best(tmp_path):
    for step in (1, 2, 3):
        write(tmp_path, step)
    checkpoint.retain(tmp_path, 1, best=tmp_path / "checkpoint-1")
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-3"]


def test_weights_of_another_student_are_refused(tmp_path):
    checkpoint.save_weights(nn.Linear(2, 3), tmp_path)
    with pytest.raises(BadInput, match="1 parameters differ"):
        checkpoint.load_weights(nn.Linear(2, 3, bias=False), tmp_path)
