"""What may differ when a run is resumed, and what not."""

from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.core.record import RunSummary, write_summary
from stillroom.recipe import folder
from stillroom.recipe.load import load_recipe


def recipe_with(run: Path, cache: Path, **changes):
    cache.mkdir(exist_ok=True)
    (cache / "manifest.json").touch()
    values = {
        "student": {"model": "org/small"},
        "teacher": {"model": "org/big", "use": "cached", "cache": str(cache)},
        "data": {"train": "org/train"},
        "objectives": ["logits.forward_kl"],
        "output": str(run),
    }
    return load_recipe(values=values | changes)


@pytest.fixture
def started(tmp_path) -> Path:
    """A run from a cache that has been removed since."""
    folder.open_run(recipe_with(tmp_path / "run", tmp_path / "old"))
    summary = RunSummary(name="a")
    summary.models = {"teacher": {"cache_precision": "auto"}}
    write_summary(tmp_path / "run", summary)
    (tmp_path / "old" / "manifest.json").unlink()
    return tmp_path / "run"


def test_a_cache_may_have_moved(started, tmp_path):
    folder.claim(recipe_with(started, tmp_path / "new: [here]"), resume=True, overwrite=False)


def test_a_cache_of_another_precision_is_refused(started, tmp_path):
    recipe = recipe_with(started, tmp_path / "new")
    folder.check_same_cache(recipe, "auto")
    with pytest.raises(BadInput, match="a cache stored as auto, and this one is stored as bfloat16"):
        folder.check_same_cache(recipe, "bfloat16")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": 4}, "seed was 10, is 4"),
        ({"teacher": {"model": "org/big"}}, "teacher.use was 'cached', is 'live'"),
    ],
)
def test_what_is_learned_may_not_differ(started, tmp_path, changes, says):
    (tmp_path / "old" / "manifest.json").touch()
    with pytest.raises(BadInput, match=says):
        folder.claim(recipe_with(started, tmp_path / "new", **changes), resume=True, overwrite=False)


def test_a_file_that_an_objective_read_may_not_have_changed(started, tmp_path):
    recipe, summary = recipe_with(started, tmp_path / "new"), RunSummary(name="a")
    folder.check_same_files(recipe, {"groups.json": "other"})  # a run of before such files were noted
    summary.objectives = [{"files": {"groups.json": "one"}}]
    write_summary(started, summary)
    folder.check_same_files(recipe, {"groups.json": "one", "new.json": "two"})
    with pytest.raises(BadInput, match=r"groups\.json changed since"):
        folder.check_same_files(recipe, {"groups.json": "other"})
