"""`stillroom reproduce` on the command line: the list, the file, and what would be run."""

import json
import signal

import pytest
import typer
from typer.testing import CliRunner

from stillroom.cli.reproduce import reproduce
from stillroom.core.errors import BadInput
from stillroom.reproduce.catalog import find
from stillroom.reproduce.reproduce import Reproduction

app = typer.Typer()
app.command()(reproduce)


def said(*words):
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_without_a_name_it_lists_what_there_is():
    assert "sharp/table6" in said()
    facts = {each["name"]: each for each in json.loads(said("--json"))}
    assert facts["sharp/table6"]["minutes"] == {"tiny": 4, "small": 20}
    assert facts["sharp/opt"]["kind"] == "recipe"


def test_show_prints_the_file_as_it_is():
    assert said("sharp/opt", "--show") == find("sharp/opt").path.read_text()


def test_a_dry_run_names_the_runs(tmp_path):
    words = ["sharp/figure3", "--dry-run", "--output", str(tmp_path)]
    assert said(*words).split() == [
        "supervised_kd-seed10",
        "sharp-seed10",
        "supervised_kd-seed11",
        "sharp-seed11",
    ]
    assert said(*words, "--seeds", "7,").split() == ["supervised_kd-seed7", "sharp-seed7"]
    with pytest.raises(BadInput, match="did you mean max_steps"):
        said(*words, "--set", "training.max_step=3")


def test_the_end_says_where_everything_is(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "stillroom.reproduce.reproduce.reproduce", lambda *_, **__: Reproduction("done", "# ours\n", {})
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        told = said("shd/table7", "--output", str(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert told == f"# ours\n\n{tmp_path}/compare.json, .csv, .md and .html\n"
