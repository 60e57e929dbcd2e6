"""What the README shows runs."""

import re
from pathlib import Path

import pytest
from folders import QUESTIONS, jsonl, model_folder

from stillroom.cli import main
from stillroom.recipe.load import load_recipe

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, flags=re.S)


@pytest.mark.slow
def test_the_python_block_runs(tmp_path, monkeypatch, capsys):
    model_folder(tmp_path / "large", seed=2, width=32)
    model_folder(tmp_path / "small", seed=1)
    jsonl(tmp_path / "train.jsonl", QUESTIONS)
    jsonl(tmp_path / "held_out.jsonl", QUESTIONS[:4])
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert '"max_steps": 20' in code
    code = code.replace('"max_steps": 20', '"max_steps": 2, "use_cpu": True')
    exec(
        code.replace(
            "distill(\n", 'distill(\n    preflight="off",  # the teacher here has never been trained\n'
        ),
        {},
    )
    assert len(capsys.readouterr().out.split()) == 2
    assert (tmp_path / "runs/first/report.html").exists()


def test_the_recipe_is_valid(tmp_path, monkeypatch):
    (text,) = blocks("yaml")
    (tmp_path / "first.yaml").write_text(text)
    for name in ("train.jsonl", "held_out.jsonl"):
        jsonl(tmp_path / name, QUESTIONS)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("first.yaml", ["objectives.1.alpha=0.2"])
    assert recipe.objectives[1].settings["alpha"] == 0.2


def test_every_verb_and_option_it_names_exists():
    import typer

    command = typer.main.get_command(main.app)
    for line in re.findall(r"^stillroom ((?:.|\\\n)*?)(?<!\\)$", "\n".join(blocks("sh")), flags=re.M):
        words = line.split("#")[0].replace("\\\n", " ").split()
        options = {name for each in command.commands[words[0]].params for name in each.opts}
        assert {word for word in words if word.startswith("--")} <= options
