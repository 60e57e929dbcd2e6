"""Two processes of one launcher make one run: one folder, one table, the student of a single process."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from stillroom.core.record import read_jsonl, read_summary


@pytest.mark.slow
def test_two_ranks_write_one_run_and_train_the_same_student(world, tmp_path):
    def words(run, batch, *more):
        return [
            sys.executable, "-m", "stillroom", "distill", "--student", world / "student", "--teacher",
            world / "teacher", "--data", world / "data.jsonl", "--objective", "logits.forward_kl", "--output", run,
            "--max-steps", "3", "--quiet", "--set", f"training.per_device_train_batch_size={batch}", "--set",
            "training.use_cpu=true", "--set", "training.logging_steps=1", "--set", "data.max_length=64",
            "--set", "teacher.preflight=off", *more,
        ]  # fmt: skip

    def start(command, **variables):
        env = os.environ | {"OMP_NUM_THREADS": "1"} | variables
        return subprocess.Popen(
            list(map(str, command)), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    gloo = ("--set", "training.ddp_backend=gloo")
    two, one = tmp_path / "two", tmp_path / "one"
    ranks = [start(words(two, 4, *gloo), RANK=str(r), LOCAL_RANK=str(r), **shared) for r in range(2)]
    outputs = [each.communicate(timeout=300) for each in ranks]
    assert [each.returncode for each in ranks] == [0, 0], outputs
    assert sum("report" in out for out, _ in outputs) == 1, "one rank speaks"
    single = start(words(one, 8))
    single.communicate(timeout=300)
    assert single.returncode == 0

    first, second = read_summary(one), read_summary(two)
    assert first.tokens == second.tokens
    assert second.environment["world_size"] == 2
    assert len(read_jsonl(two / "metrics.jsonl")) == len(read_jsonl(one / "metrics.jsonl"))
    ours, theirs = (load_file(run / "student" / "model.safetensors") for run in (one, two))
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-5, rtol=1e-4)
