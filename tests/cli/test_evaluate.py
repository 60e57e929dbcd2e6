import json

import pytest
import typer
from folders import jsonl

from stillroom.cli.evaluate import evaluate
from stillroom.core.errors import BadInput


@pytest.fixture
def verb(capfd):
    """The verb alone, as a person would type it; gives standard output."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(evaluate)

    def run(*words):
        app([str(word) for word in words], standalone_mode=False)
        return capfd.readouterr().out

    return run


def test_marks_by_exam_for_people_and_for_programs(world, verb, tmp_path):
    words = (
        world / "student", "--on", f"mine={world / 'data.jsonl'}", "--limit", 2, "--seeds", "10,20",
        "--output", tmp_path / "test.json", "--quiet",
    )  # fmt: skip
    shown = verb(*words)
    assert shown.startswith("mine\n")
    assert "under protocol clean" in shown
    assert "rouge_l/seed10" in shown
    printed = json.loads(verb(*words, "--json"))
    assert printed == json.loads((tmp_path / "test.json").read_text())
    assert printed["exams"]["mine"]["rouge_l/seed20"] >= 0


def test_held_out_text_as_before(world, verb):
    printed = json.loads(
        verb(world / "student", "--data", world / "data.jsonl", "--limit", 2, "--prompts", 0, "--json")
    )
    assert set(printed) == {"loss", "perplexity", "bits_per_byte", "calibration_error"}


def test_the_list_needs_no_model(verb):
    assert "wizardlm" in verb("--list")
    assert json.loads(verb("--list", "--json"))["glue:rte"]["kind"] == "glue"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give a model"),
        (("model",), "--data FILE or --on"),
        (("model", "--data", "a.jsonl", "--on", "dolly"), "either"),
        (("model", "--on", "dolly="), "NAME or NAME=PATH"),
        (("model", "--on", "dolly", "--on", "dolly=x"), "given twice"),
        (("model", "--on", "dolly", "--seeds", "10;20"), "whole numbers"),
        (("model", "--on", "mmlu", "--shots", "mmlu=few"), "NAME=K"),
        (("model", "--on", "dolly", "--max-length", 64), "go with --data"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(verb, words, said):
    with pytest.raises(BadInput, match=said):
        verb(*words)


def test_a_set_may_be_read_from_a_file_of_ones_own(world, verb, tmp_path):
    one = jsonl(tmp_path / "one.jsonl", [{"instruction": "Q", "output": ["A", "B"]}])
    shown = verb(world / "student", "--on", f"sni={one}", "--quiet")
    assert "note: sni: " in shown
    assert "the published set 1694" in shown
