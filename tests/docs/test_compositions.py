"""What docs/methods.md writes down as a composition is one."""

import re
from pathlib import Path

import pytest
import yaml

from stillroom import objectives
from stillroom.recipe.objective_settings import check_settings

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
WRITTEN = sorted(set(re.findall(r"`(\{use: [^`]*\})`", PAGE.partition("## Published systems")[2])))


def test_there_are_some() -> None:
    assert len(WRITTEN) > 8


@pytest.mark.parametrize("written", WRITTEN)
def test_it_can_be_built(written: str) -> None:
    given = yaml.safe_load(written)
    use = given.pop("use")
    objectives.find(use)(**check_settings(use, given))
