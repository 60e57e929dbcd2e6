"""Listing, finding and describing objectives, ours and a stranger's."""

import dataclasses
import subprocess
import sys

import pytest

from stillroom import objectives
from stillroom.core.errors import BadInput
from stillroom.core.objective import Objective

MINE = '''"""My way.

More.
"""
from dataclasses import dataclass, field
from typing import ClassVar
from stillroom.objectives.logits.renyi import Renyi
from stillroom.core.objective import Objective

@dataclass(eq=False, kw_only=True)
class Mine(Renyi):
    """Renyi, renamed."""
    label: ClassVar[str] = "mine"
    width: int
    """How
    wide."""
    layers: list[int] = field(default_factory=list)
    alpha: float = 1 / 4
'''


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Writes a module on the import path; it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        written.append(name)

    yield write
    for name in written:
        sys.modules.pop(name, None)


def test_names_follow_the_files():
    names = objectives.names()
    assert "hard.cross_entropy" in names
    assert "logits.forward_kl" in names
    assert names == sorted(names)
    assert not any("_family" in name or "__init__" in name for name in names)


@pytest.mark.parametrize("name", objectives.names())
def test_source_and_class_tell_the_same_settings(name):
    kind = objectives.find(name)
    assert issubclass(kind, Objective)
    told = {setting.name: setting.default for setting in objectives.settings(name)}
    assert told == {each.name: each.default for each in dataclasses.fields(kind)}
    assert all(setting.doc and setting.type for setting in objectives.settings(name))
    assert objectives.summary(name)


def test_listing_and_settings_import_no_torch():
    script = (
        "import sys; from stillroom import objectives as o;"
        "[(o.settings(n), o.summary(n)) for n in o.names()]; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_strangers_file_is_found_by_import_path(stranger):
    stranger("my_way", MINE)
    assert objectives.find("my_way").__name__ == "Mine"
    assert objectives.find("my_way:Mine") is objectives.find("my_way")
    assert objectives.find("my_way:Renyi") is objectives.find("logits.renyi")
    told = {setting.name: setting for setting in objectives.settings("my_way")}
    assert list(told) == ["temperature", "scale_by_temperature_squared", "top_k", "alpha", "width", "layers"]
    assert (told["width"].default, told["width"].doc) == (objectives.Setting.REQUIRED, "How wide.")
    assert told["layers"].default == "field(default_factory=list)"
    assert told["alpha"].default == "1 / 4"
    assert objectives.summary("my_way") == "My way."


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("logits.foward_kl", r"'logits.foward_kl': did you mean logits\.forward_kl"),
        ("forward_kl", r"did you mean logits\.forward_kl"),
        ("nowhere.at_all", "unknown objective 'nowhere.at_all'"),
        ("", "unknown objective ''"),
        ("../evil", "unknown objective"),
        (".relative", "unknown objective"),
        ("json", "json defines no objective"),
        ("json:Mine", "json"),
    ],
)
def test_unknown_names(name, says):
    for ask in (objectives.find, objectives.settings):
        with pytest.raises(BadInput, match=says):
            ask(name)


def test_two_objectives_in_one_file_need_a_name(stranger):
    stranger("two_ways", MINE + MINE.split("\n\n")[2].replace("Mine", "Other"))
    for ask in (objectives.find, objectives.settings):
        with pytest.raises(BadInput, match="two_ways defines Mine, Other"):
            ask("two_ways")
    assert objectives.find("two_ways:Other").__name__ == "Other"


def test_an_import_that_fails_inside_a_strangers_file_is_not_an_unknown_name(stranger):
    stranger("broken_way", "import a_package_that_is_not_there")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        objectives.find("broken_way")
