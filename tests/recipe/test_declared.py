import ast
import math

import pytest

from stillroom.recipe.declared import Mismatch, declare, fields_of

ENUMS = {"Color": ("red", "blue")}


def convert(annotation, value):
    return declare(ast.parse(annotation, mode="eval").body, ENUMS).convert(value)


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        ("float", "1e-5", 1e-5),
        ("float", 3, 3),
        ("int", "12", 12),
        ("int", 1e3, 1000),
        ("int", 2**70 + 1, 2**70 + 1),
        ("bool", True, True),
        ("str", "5", "5"),
        ("int | None", None, None),
        ("Optional[int]", 3, 3),
        ("typing.Optional[int]", None, None),
        ("'int | str'", "x", "x"),
        ("list[str] | str", ["a"], ["a"]),
        ("dict[str, Any] | None", {"a": 1}, {"a": 1}),
        ("Literal['a', 1]", 1, 1),
        ("Color | str", "red", "red"),
        ("Unheard", object, object),
        ("int | Unheard", "x", "x"),
    ],
)
def test_values_become_the_declared_kind(annotation, value, expected):
    got = convert(annotation, value)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value", "words"),
    [
        ("float", "abc", "expected a number, got 'abc'"),
        ("float", True, "expected a number, got true"),
        ("float", math.nan, "expected a finite number, got nan"),
        ("float", "inf", "expected a number, got 'inf'"),
        ("Unheard", math.inf, "expected a finite number"),
        ("int", 1.5, "expected a whole number, got 1.5"),
        ("int", "1.5", "expected a whole number, got '1.5'"),
        ("bool", "yes", "expected true or false, got 'yes'"),
        ("bool", 1, "expected true or false, got 1"),
        ("str | None", 5, "expected text or null, got 5"),
        ("Literal['paper', 'code']", "papr", "expected one of paper, code, got 'papr'; did you mean paper?"),
        ("Literal[1]", True, "expected one of 1, got true"),
        ("Color | str", "green", "expected one of red, blue, got 'green'"),
    ],
)
def test_other_values_are_refused_in_one_sentence(annotation, value, words):
    with pytest.raises(Mismatch) as caught:
        convert(annotation, value)
    assert str(caught.value).startswith(words)


def test_class_variables_and_private_names_are_no_fields():
    source = "class A:\n  x: int = 1\n  _y: int = 2\n  z: ClassVar[int] = 3\n  w = 4\n  def f(self): ...\n"
    assert list(fields_of(ast.parse(source).body[0])) == ["x"]
