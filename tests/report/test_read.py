import json

import pytest

from stillroom.core.errors import BadInput
from stillroom.core.record import METRICS, RECIPE, SAMPLES, SUMMARY
from stillroom.report.read import read_runs


def test_reads_all_parts(make_run):
    (run,) = read_runs([make_run(lines=20)])
    assert run.label == "forward_kl"
    assert len(run.metrics) > 20
    assert len(run.samples) == 4
    assert "max_steps" in (run.recipe or "")
    assert run.problems == []


def test_equal_names_are_told_apart(make_run):
    runs = [
        make_run("a", seed=1),
        make_run("a", seed=2),
        make_run("b", seed=1),
        make_run("b", seed=1),
        make_run("c"),
    ]
    labels = [run.label for run in read_runs(runs)]
    assert labels == ["a (seed 1)", "a (seed 2)", "b (seed 1) #1", "b (seed 1) #2", "c"]


def test_what_is_missing_or_damaged_is_said(make_run):
    folder = make_run(lines=5)
    (folder / METRICS).write_text("{}\nnot json\n{}\n", encoding="utf-8")
    (folder / SAMPLES).write_bytes(b"\xff\xfe\x00")
    (folder / RECIPE).unlink()
    (run,) = read_runs([folder])
    assert run.metrics == []
    assert run.recipe is None
    assert "metrics.jsonl is damaged" in run.problems[0]
    assert ":2:" in run.problems[0]
    assert "samples.jsonl is damaged" in run.problems[1]


def test_wrong_kinds_fall_back_to_nothing(make_run):
    folder = make_run(lines=1)
    content = json.loads((folder / SUMMARY).read_text())
    content |= {
        "final": None,
        "notes": "x",
        "seconds": None,
        "models": {"student": 3},
        "objectives": [1],
        "name": None,
    }
    (folder / SUMMARY).write_text(json.dumps(content))
    (run,) = read_runs([folder])
    assert run.label == "unnamed run"
    assert (run.summary.final, run.summary.notes, run.summary.models) == ({}, [], {})


def test_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="at least one run folder"):
        read_runs([])
    with pytest.raises(BadInput, match="is not a run folder"):
        read_runs([tmp_path])
