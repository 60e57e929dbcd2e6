import pytest
from pydantic import ValidationError

from stillroom import objectives
from stillroom.recipe.objective_settings import OURS, check_settings


def sentences(use, given):
    with pytest.raises(ValidationError) as caught:
        check_settings(use, given)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_defaults_are_written_out_and_given_values_converted():
    assert check_settings("logits.forward_kl", {"temperature": "2e0"}) == {
        "temperature": 2.0,
        "scale_by_temperature_squared": True,
        "top_k": None,
    }


def test_unknown_settings_and_wrong_kinds_are_refused_together():
    assert sentences("logits.forward_kl", {"temprature": 2, "scale_by_temperature_squared": "yes"}) == {
        ("temprature",): "logits.forward_kl has no such setting; did you mean temperature?",
        ("scale_by_temperature_squared",): "expected true or false, got 'yes'",
    }


@pytest.mark.parametrize("temperature", [0, -1.5])
def test_a_temperature_is_above_zero(temperature):
    words = sentences("logits.forward_kl", {"temperature": temperature})[("temperature",)]
    assert words == f"expected a temperature above 0, got {temperature:g}"


def test_an_unknown_objective_names_the_nearest():
    assert "did you mean hard.cross_entropy" in sentences("hard.cross_entropi", {})[("use",)]


def test_a_strangers_objective_is_read_from_its_file(tmp_path, monkeypatch):
    (tmp_path / "my_method.py").write_text(
        "from dataclasses import dataclass\n"
        "from stillroom.core.objective import Objective\n"
        "@dataclass(eq=False, kw_only=True)\n"
        "class Mine(Objective):\n"
        "    rank: int\n"
        "    mode: str = 'a'\n"
        "    layers: list = field(default_factory=list)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert check_settings("my_method", {"rank": 3}) == {"rank": 3, "mode": "a"}
    assert sentences("my_method", {}) == {("rank",): "missing: my_method needs it (int)"}


def test_a_strangers_setting_must_not_be_taken_for_a_key_of_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "my_rate.py").write_text(
        "from dataclasses import dataclass\n"
        "from stillroom.core.objective import Objective\n"
        "@dataclass(eq=False, kw_only=True)\n"
        "class Mine(Objective):\n"
        "    learning_rate: float = 1e-3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert sentences("my_rate", {}) == {
        ("use",): "my_rate calls a setting learning_rate, a key of the recipe; rename it"
    }


@pytest.mark.parametrize("name", objectives.names())
def test_no_objective_of_the_catalog_takes_our_keys(name):
    assert not {setting.name for setting in objectives.settings(name)} & set(OURS)
