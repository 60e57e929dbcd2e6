"""Several problems at once: each has a place in the recipe and one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal, NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Path = tuple[str | int, ...]
"""Keys and list positions from the top of the recipe: `("objectives", 1, "weight")`."""


WRONG, UNKNOWN_KEY = "recipe", "unknown_key"
"""Types of our errors in pydantic's list; their message is our sentence."""


class Problem(NamedTuple):
    """What is wrong at `path`; the sentence does not repeat the path."""

    path: Path
    sentence: str
    is_unknown_key: bool = False
    """The key can be left out to look at the rest of the recipe."""


def dotted(path: Path) -> str:
    """`objectives.1.weight`: the form that `--set` takes."""
    return ".".join(map(str, path))


def nearest(word: str, options: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing where no option is close."""
    close = get_close_matches(word.lower(), sorted(set(options)), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The nearest option; where none is close, all of them if they are few."""
    options = sorted(set(options))
    known = f"; known here: {', '.join(options)}" if 0 < len(options) <= 12 else ""
    return nearest(word, options) or known


def shown(value: object) -> str:
    """A value as a sentence shows it: as YAML spells it, and short."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def wrong(sentence: str, kind: Literal["recipe", "unknown_key"] = WRONG) -> PydanticCustomError:
    """The error that a validator of one value raises."""
    return PydanticCustomError(kind, "{sentence}", {"sentence": sentence})


def refuse(problems: Iterable[Problem]) -> None:
    """Raise the problems, if any, in the form that pydantic merges with its own and puts under the right
    path."""
    details = [
        InitErrorDetails(
            type=wrong(problem.sentence, UNKNOWN_KEY if problem.is_unknown_key else WRONG),
            loc=problem.path,
            input=None,
        )
        for problem in problems
    ]
    if details:
        raise ValidationError.from_exception_data("recipe", details)
