"""The section `published` of an experiment: what the paper prints, and which of our numbers may stand beside it.

    published:
      source: SHARP, Table 6 (OPT-350M to OPT-125M)
      against: SHARP   # differences are to this row; left out: the variant that all are paired with
      columns:
        AlpacaEval perplexity: {better: lower, ours: loss, paper: [tests, alpaca_eval, perplexity]}
        "MMLU, %": {better: higher, paper: [tests, mmlu, acc], times: 100}
      rows:
        SHARP: {AlpacaEval perplexity: 31.47, "MMLU, %": 21.25}
      not_run: {MiniLLM: it samples from the student}
      cannot_compare: [sentences]

`ours` and `paper` are keys inside a run of compare.json: `ours` at the scales tiny and small, `paper` at that of the
paper (where it is missing, `ours`). A row is a variant, `teacher`, or one of `not_run`.
"""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stillroom.compare.collect import COSTS, HELD_OUT, TO_TARGET
from stillroom.core.errors import BadInput
from stillroom.recipe.problems import did_you_mean
from stillroom.recipe.schema import Number, Section
from stillroom.report.directions import better


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Keys = Annotated[list[str], BeforeValidator(_one_or_more)]


class Column(Section):
    """One column of a published table."""

    better: Literal["lower", "higher"]
    ours: Keys = Field(default_factory=list)
    paper: Keys = Field(default_factory=list)
    times: Annotated[Number, Field(gt=0)] = 1.0
    """What ours is multiplied with to be in the unit of the column."""

    def keys(self, scale: str) -> list[str]:
        """Where our number lies inside a run; empty where nothing of ours may stand beside this column."""
        return (self.paper or self.ours) if scale == "paper" else self.ours


class Published(Section):
    """What a paper prints. Rows may leave columns out."""

    source: Annotated[str, Field(min_length=1)]
    against: str | None = None
    columns: dict[str, Column] = Field(default_factory=dict)
    rows: dict[str, dict[str, Number]] = Field(default_factory=dict)
    not_run: dict[str, str] = Field(default_factory=dict)
    cannot_compare: list[str] = Field(default_factory=list)

    def check(self, variants: Collection[str], where: str) -> None:
        """`BadInput` for a row that nothing is run for, and for a number without a column."""
        known = [*variants, *self.not_run, "teacher"]
        if self.against is not None and self.against not in variants:
            hint = did_you_mean(self.against, variants)
            raise BadInput(f"{where}published.against: no variant {self.against!r}{hint}")
        for row, numbers in self.rows.items():
            if row not in known:
                raise BadInput(f"{where}published.rows: no variant {row!r}{did_you_mean(row, known)}")
            for column in numbers:
                if column not in self.columns:
                    hint = did_you_mean(column, self.columns)
                    raise BadInput(f"{where}published.rows.{row}: no column {column!r}{hint}")

    def check_keys(self, scale: str, exams: Collection[str], where: str) -> None:
        """`BadInput` where no run of this scale can hold what stands beside a column, or it is better the other way."""
        for name, column in self.columns.items():
            if keys := column.keys(scale):
                problem = _wrong_keys(keys, exams) or _wrong_way(keys[-1], column.better)
                if problem:
                    raise BadInput(f"{where}published.columns.{name}: [{', '.join(keys)}]: {problem}")


def _wrong_keys(keys: Sequence[str], exams: Collection[str]) -> str:
    """What is wrong with the place of a number inside a run; empty where nothing is."""
    match keys:
        case ["tests", exam, _]:
            return "" if exam in exams else f"no exam {exam!r} at this scale{did_you_mean(exam, exams)}"
        case ["to_target", what]:
            return "" if what in TO_TARGET else f"expected one of {', '.join(TO_TARGET)}"
        case ["measures", _]:
            return ""
        case [key]:
            known = (*HELD_OUT, *COSTS)
            return "" if key in known else f"no such number of a run{did_you_mean(key, known)}"
    return "expected one number of a run, [tests, EXAM, METRIC], [to_target, steps] or [measures, NAME]"


def _wrong_way(metric: str, said: str) -> str:
    known = better(metric)
    return (
        f"{metric} is {known} where it is better, and the column says {said}"
        if known not in ("", said)
        else ""
    )
