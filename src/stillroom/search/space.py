"""A space file: a recipe, and which of its settings are looked for where.

    about: what is searched, in a sentence
    base: opt.yaml                    # a recipe, relative to this file, or the recipe itself
    space:
      training.learning_rate: {log: [1.0e-5, 1.0e-3]}       # evenly on a logarithmic scale
      objectives.0.temperature: {choice: [1.0, 2.0, 4.0]}
      objectives.0.weight, objectives.1.weight: {uniform: [0.0, 1.0]}  # one value for both
      objectives.0.rank_size: {int: [32, 256], log: true}   # step: 32 goes in steps
    metric: loss                      # or perplexity, bits_per_byte, teacher_kl, agreement, rouge_l, on held-out text
    sampler: tpe                      # or random, or grid (of choices)
    trials: 20
    seed: 10                          # of the sampler and of every trial
    set: {data.eval_limit: 256}       # for the trials and the recipe that comes out
    trial: {training.max_steps: 120}  # for the trials alone: their budget

Later wins: base, set, trial, what the sampler suggests, command line.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from stillroom.compare.plan import OWNED, Changes
from stillroom.core.errors import BadInput
from stillroom.recipe import strict_yaml
from stillroom.recipe.problems import did_you_mean, shown, wrong
from stillroom.recipe.schema import Number, Section, Whole
from stillroom.recipe.sentences import place, sentence

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Metric = Literal["loss", "perplexity", "bits_per_byte", "teacher_kl", "agreement", "rouge_l"]
Sampler = Literal["tpe", "random", "grid"]
Value = bool | int | float | str | None


def _ends(value: list[Any]) -> list[Any]:
    if value[0] >= value[1]:
        raise wrong(f"expected [low, high] with low below high, got {value}")
    return value


def _values(value: list[Any]) -> list[Any]:
    if any(isinstance(each, list | dict) for each in value):
        raise wrong("expected numbers, words, true, false or null in the list of choices")
    return value


_Numbers = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(_ends)]
_Wholes = Annotated[list[Whole], Field(min_length=2, max_length=2), AfterValidator(_ends)]


class Range(Section):
    """Where one setting may lie: exactly one of `log`, `uniform`, `int` and `choice`."""

    log: _Numbers | bool | None = None
    """Two ends of a logarithmic range; or true beside `int`."""
    uniform: _Numbers | None = None
    int: _Wholes | None = None
    step: Annotated[Whole, Field(ge=1)] = 1
    """Of `int`."""
    choice: Annotated[list[Any], Field(min_length=1), AfterValidator(_values)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        kinds = [isinstance(self.log, list), self.uniform is not None, self.int is not None]
        kinds.append(self.choice is not None)
        if sum(kinds) != 1:
            raise wrong("expected exactly one of log: [low, high], uniform: [...], int: [...], choice: [...]")
        if self.int is None and (isinstance(self.log, bool) or self.step != 1):
            raise wrong("log: true and step stand beside int: [low, high] alone")
        low = (self.log if isinstance(self.log, list) else self.int or [1])[0]
        if self.log and low <= 0:
            raise wrong(f"a logarithmic range begins above zero, got {shown(low)}")
        if self.log is True and self.step != 1:
            raise wrong("log: true and step do not go together; leave one out")
        return self

    def ends(self) -> list[Value]:
        """Values that every suggestion lies between; of choices, all."""
        listed = self.choice or self.uniform or self.int or self.log
        return list(listed) if isinstance(listed, list) else []

    @property
    def is_log(self) -> bool:
        return bool(self.log)

    def distribution(self) -> "BaseDistribution":
        """As Optuna calls it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        if self.int is not None:
            return IntDistribution(self.int[0], self.int[1], log=self.is_log, step=self.step)
        low, high = self.uniform or (self.log if isinstance(self.log, list) else [0.0, 1.0])
        return FloatDistribution(low, high, log=self.is_log)


class Space(Section):
    """A search, read and checked. `base` is a mapping once it is read."""

    about: str = ""
    base: Any
    space: Annotated[dict[str, Range], Field(min_length=1)]
    metric: Metric = "loss"
    sampler: Sampler = "tpe"
    trials: Annotated[Whole, Field(ge=1)] = 20
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 10
    set: Changes = Field(default_factory=dict)
    trial: Changes = Field(default_factory=dict)


def read_space(path: Path, ranges: Sequence[str] = (), flags: Mapping[str, Any] | None = None) -> Space:
    """The search in a file; or a recipe with `ranges` like "training.learning_rate={log: [1e-5, 1e-3]}".

    `flags` (metric, sampler, trials, seed; None: not given) replace those of the file. `BadInput` with file and line.
    """
    document = strict_yaml.read(path)
    if document.duplicates:
        raise BadInput("\n".join(document.duplicates))
    values = document.values
    if not isinstance(values, dict):
        raise BadInput(f"{path}: expected a space file (base: and space: at the top) or a recipe")
    if "space" not in values and "base" not in values:
        if not ranges:
            raise BadInput(
                f"{path} is a recipe and says nothing of what to search; add --space, for example "
                "--space 'training.learning_rate={log: [1e-5, 1e-3]}'"
            )
        values, document.origins = {"base": values, "space": {}}, {}
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    added = dict(map(_range, ranges))
    values = {**values, "space": {**(values.get("space") or {}), **added}, **given}
    document.origins |= {(key,): f"--{key}" for key in given} | {("space", key): "--space" for key in added}
    try:
        space = Space.model_validate(values)
    except ValidationError as error:
        raise BadInput("\n".join(_sentences(error, document))) from error
    searched = [key.strip() for keys in space.space for key in keys.split(",")]
    for changes in (searched, space.set, space.trial):
        if taken := OWNED.keys() & {*changes}:
            raise BadInput(f"{path}: {min(taken)} is set by the search for every trial; take it out")
    if space.sampler == "grid":
        _check_grid(space, path)
    return space.model_copy(update={"base": _base(space.base, path)})


def _range(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--space {text}: expected KEY={{log: [low, high]}}, or uniform, int or choice")
    return key.strip(), strict_yaml.parse(value, f"--space {text}", has_lines=False).values


def _sentences(error: ValidationError, document: strict_yaml.Document) -> Iterator[str]:
    for details in error.errors(include_url=False):
        loc = details["loc"]
        # of `list or true or nothing` pydantic names each; one complaint of a setting is enough
        where = place(
            tuple(each for each in loc if not str(each).startswith(("list[", "bool", "function"))),
            document.origins,
        )
        if details["type"] == "extra_forbidden":
            known = Range.model_fields if loc[0] == "space" else Space.model_fields
            yield f"{where}unknown key{did_you_mean(str(loc[-1]), known)}"
        elif "bool" not in loc:
            yield where + sentence(details)


def _check_grid(space: Space, path: Path) -> None:
    for key, each in space.space.items():
        if each.choice is None:
            raise BadInput(
                f"{path}: space.{key}: a grid is made of choices; write choice: [...], or sampler: tpe"
            )


def _base(base: Any, path: Path) -> dict[str, Any]:
    values = strict_yaml.read(path.parent / base).values if isinstance(base, str) else base
    if not isinstance(values, dict):
        raise BadInput(f"{path}: base: expected the path of a recipe, or a recipe, got {shown(values)}")
    return values
