"""Whole comparisons with stand-ins for training and exams, typed as a person would."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import stand_in
import typer
from typer.testing import CliRunner

from stillroom.cli import compare as verb
from stillroom.compare import compare as whole
from stillroom.compare import exams, execute
from stillroom.core.errors import BadInput


@dataclass
class Compared:
    code: int
    out: str
    err: str
    folder: Path

    @property
    def found(self):
        return json.loads((self.folder / "compare.json").read_text())

    @property
    def text(self):
        return (self.folder / "compare.md").read_text()

    def made(self):
        return (self.folder / "made.txt").read_text().split()


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Changes of the plan and words of the command line to what came of it."""
    monkeypatch.setattr(execute, "command", stand_in.train)
    real = exams.command
    monkeypatch.setattr(
        exams, "command", lambda sitting: [sys.executable, "-c", stand_in.EXAM, *real(sitting)[4:]]
    )
    monkeypatch.setattr(whole, "check_exams", lambda *_: None)  # it reads the texts of exams
    monkeypatch.setattr(verb.signal, "signal", lambda *_: None)

    def run(*words, file=None, **changes):
        file = file or stand_in.written(tmp_path, **changes)
        return typed(file, "--output", tmp_path / "runs", *words)

    def typed(*words):
        app = typer.Typer()
        app.command()(verb.compare)
        words = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["stillroom", "compare", *words])
        got = CliRunner().invoke(app, words)
        code, err = got.exit_code, got.stderr
        if isinstance(got.exception, BadInput):
            code, err = 2, f"error: {got.exception}"
        elif got.exception is not None and not isinstance(got.exception, SystemExit):
            raise got.exception
        return Compared(code, got.stdout, err, tmp_path / "runs")

    return run
