import os

import pytest

from stillroom.recipe.files import find_problems
from stillroom.recipe.schema import Recipe


@pytest.fixture
def problems(tmp_path, monkeypatch):
    """A function from changes of a recipe to its problems with files: path -> sentence."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "träin data.jsonl").write_text("{}\n")

    def find(
        student="model", teacher="org/big", train="träin data.jsonl", evaluation=None, output="runs/first"
    ):
        recipe = Recipe(
            student={"model": student},
            teacher={"model": teacher},
            data={"train": train, "eval": evaluation},
            objectives=["logits.forward_kl"],
            output=output,
        )
        return {problem.path: problem.sentence for problem in find_problems(recipe)}

    return find


def test_existing_files_and_names_of_the_hub_pass(problems):
    assert problems() == {}
    assert problems(student="gpt2", train="databricks/databricks-dolly-15k", evaluation="python-docs") == {}


@pytest.mark.parametrize("source", ["./none", "../none", "/none/x", "a/b/c", "~nobody/x"])
def test_what_looks_like_a_path_must_exist(problems, source):
    found = problems(student=source, train=source)
    assert set(found) == {("student", "model"), ("data", "train")}
    assert all(os.path.abspath(source) in sentence or "~" in source for sentence in found.values())


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "JSONL"])
def test_data_files_are_known_by_their_ending(problems, tmp_path, ending):
    found = problems(evaluation=f"none.{ending}")
    assert found == {("data", "eval"): f"there is no file {tmp_path}/none.{ending}; give one that exists"}


def test_a_model_is_a_folder_with_a_configuration(problems, tmp_path):
    (tmp_path / "empty").mkdir()
    found = problems(student="träin data.jsonl", teacher="empty")
    assert "is a file; give the folder" in found[("student", "model")]
    assert "has no config.json" in found[("teacher", "model")]


def test_the_output_can_be_made(problems, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file; name a folder" in problems(output="file")[("output",)]
    assert "cannot be made" in problems(output="file/run/first")[("output",)]
    assert problems(output=str(tmp_path)) == {}


def test_the_output_can_be_written(problems, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert f"no permission in {tmp_path}" in problems(output="new/run")[("output",)]


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
def test_a_name_that_no_disk_takes_is_no_crash(problems, name):
    assert ("data", "train") not in problems(train=name)
    assert ("data", "train") in problems(train=f"./{name}")
