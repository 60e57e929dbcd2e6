"""What docs/methods.md writes down as a composition is one."""

import re
from pathlib import Path

import pytest
import yaml

from stillroom import objectives
from stillroom.recipe.schema import ObjectiveChoice

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")
WRITTEN = sorted(set(re.findall(r"`(\{use: [^`]*\})`", PAGE.partition("## Published systems")[2])))


def test_there_are_some() -> None:
    assert len(WRITTEN) > 8


@pytest.mark.parametrize("written", WRITTEN)
def test_it_can_be_built(written: str) -> None:
    choice = ObjectiveChoice.model_validate(yaml.safe_load(written))
    objectives.find(choice.use)(**choice.settings)
