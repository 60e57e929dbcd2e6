"""One pair of tiny models for all tests of this folder, and a way to type a command."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from folders import QUESTIONS, jsonl, model_folder

from stillroom.cli import main


@dataclass
class Typed:
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A folder with `teacher`, `student` and `data.jsonl`."""
    root = tmp_path_factory.mktemp("world")
    model_folder(root / "teacher", seed=2, width=32)
    model_folder(root / "student", seed=1)
    jsonl(root / "data.jsonl", QUESTIONS)
    return root


@pytest.fixture
def typed(capfd, monkeypatch) -> Callable[..., Typed]:
    """Type a command as a person would; gives the exit code and what was printed."""

    def run(*words: object) -> Typed:
        monkeypatch.setattr(sys, "argv", ["stillroom", *map(str, words)])
        code = 0
        try:
            main.run()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capfd.readouterr()
        return Typed(code, captured.out, captured.err)

    return run
