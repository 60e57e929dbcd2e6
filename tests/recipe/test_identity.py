"""The files that stand for a teacher's weights, and what changes their hash."""

import json
import shutil

import pytest

from stillroom.recipe.identity import weight_files, weights_hash


@pytest.fixture
def sharded(tmp_path):
    """A model of two files, each listed for several tensors."""
    folder = tmp_path / "model"
    folder.mkdir()
    parts = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    for name in set(parts.values()):
        (folder / name).write_bytes(name.encode())
    return folder


def names(folder):
    return [path.name for path in weight_files(str(folder))]


def test_the_parts_of_the_index_are_read_and_one_file_comes_before_them(sharded):
    assert names(sharded) == ["model-1.safetensors", "model-2.safetensors"]
    (sharded / "model.safetensors").write_bytes(b"whole")
    assert names(sharded) == ["model.safetensors"]


def test_weights_that_are_not_whole_have_no_hash(sharded, tmp_path):
    (sharded / "model-2.safetensors").unlink()
    assert weights_hash(str(sharded)) is None
    assert weights_hash(str(tmp_path)) is None


def test_the_hash_is_of_the_content_and_not_of_the_place(sharded, tmp_path):
    before = weights_hash(str(sharded))
    shutil.copytree(sharded, tmp_path / "copy")
    assert weights_hash(str(tmp_path / "copy")) == before
    (tmp_path / "copy" / "model-2.safetensors").write_bytes(b"model-3.safetensors")
    assert weights_hash(str(tmp_path / "copy")) != before
