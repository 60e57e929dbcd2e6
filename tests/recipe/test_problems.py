import pytest
from pydantic import ValidationError

from stillroom.recipe.problems import Problem, did_you_mean, dotted, nearest, refuse, shown


def test_a_close_name_is_offered_and_a_far_one_lists_the_few_options():
    assert did_you_mean("learning_rat", ["learning_rate", "seed"]) == "; did you mean learning_rate?"
    assert did_you_mean("zzz", ["b", "a"]) == "; known here: a, b"
    assert did_you_mean("zzz", [str(n) * 9 for n in range(13)]) == ""
    assert nearest("zzz", ["a"]) == ""


def test_paths_and_values_are_shown_as_in_yaml():
    assert dotted(("objectives", 1, "weight")) == "objectives.1.weight"
    assert [shown(value) for value in (None, True, False, 3, "a")] == ["null", "true", "false", "3", "'a'"]
    assert len(shown("x" * 1000)) == 60


def test_refuse_raises_all_problems_under_their_paths():
    refuse([])
    with pytest.raises(ValidationError) as caught:
        refuse([Problem(("a", 0), "is {odd}"), Problem(("b",), "is absent", is_unknown_key=True)])
    errors = caught.value.errors()
    assert [(e["loc"], e["msg"], e["type"]) for e in errors] == [
        (("a", 0), "is {odd}", "recipe"),
        (("b",), "is absent", "unknown_key"),
    ]
