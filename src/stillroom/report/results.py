"""The table of results as data: the page and the terminal print the same rows.

    gap closed = (loss before - loss after) / (loss before - loss of the teacher), in nats per held-out token

Zero is the student before training, one is the teacher. The teacher stands first, the untrained student
second, then the runs from the lowest held-out loss to the highest. The best student value of a column is
marked, and the untrained student takes part in that: a run that made things worse must show it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stillroom.report import numbers
from stillroom.report.numbers import finite
from stillroom.report.read import Run


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    unit: str
    write: Callable[[float], str]
    better: Literal["lower", "higher", ""] = ""


COLUMNS = (
    Column("perplexity", "Perplexity", "held-out", numbers.perplexity, "lower"),
    Column("loss", "Loss", "nats / token", numbers.fixed, "lower"),
    Column("bits_per_byte", "Bits", "/ byte", numbers.fixed, "lower"),
    Column("agreement", "Agreement", "with teacher", numbers.percent, "higher"),
    Column("teacher_kl", "Teacher KL", "nats / token", numbers.fixed, "lower"),
    Column("rouge_l", "Rouge-L", "0 to 100", lambda value: numbers.fixed(value, 1), "higher"),
    Column("parameters", "Parameters", "", numbers.amount),
    Column("tokens", "Trained", "tokens", numbers.amount),
    Column("tokens_per_second", "Speed", "tokens / s", numbers.amount),
    Column("peak_memory_bytes", "Memory", "peak", numbers.memory),
    Column("seconds", "Time", "", numbers.duration),
)
_COSTS = ("tokens", "tokens_per_second", "peak_memory_bytes", "seconds")
_OF_TEACHER = ("agreement", "teacher_kl")


@dataclass(frozen=True)
class Cell:
    text: str
    reason: str = ""
    """Why there is no value; empty where there is one."""
    best: bool = False


@dataclass(frozen=True)
class Row:
    label: str
    kind: Literal["teacher", "baseline", "run"]
    index: int
    """Position of the run in the report (its color); for teacher and baseline, the run that measured them."""
    values: Mapping[str, float]
    cells: Sequence[Cell]


def result_rows(runs: Sequence[Run]) -> list[Row]:
    """Teachers, students before training, then the runs by held-out loss; cells stand as in `COLUMNS`."""
    rows = _shared(runs, "teacher") + _shared(runs, "baseline")
    trained = [
        _row(run.label, "run", i, {**run.summary.final, **_costs(run)}, run) for i, run in enumerate(runs)
    ]
    return _mark_best(rows + sorted(trained, key=_rank))


def _rank(row: Row) -> float:
    loss = held_out_loss(row.values)
    return math.inf if loss is None else loss


def held_out_loss(metrics: Mapping[str, Any]) -> float | None:
    """Nats per response token, from the perplexity where the loss itself was not kept."""
    loss, perplexity = finite(metrics.get("loss")), finite(metrics.get("perplexity"))
    if loss is None and perplexity is not None and perplexity > 0:
        return math.log(perplexity)
    return loss


def gap_closed(before: float | None, after: float | None, teacher: float | None) -> float | None:
    """Share of the distance to the teacher that training covered; None where the teacher is not ahead."""
    if before is None or after is None or teacher is None or before <= teacher:
        return None
    return (before - after) / (before - teacher)


def _shared(runs: Sequence[Run], kind: Literal["teacher", "baseline"]) -> list[Row]:
    """One row for all runs that measured the same model alike; another row where a run measured otherwise."""
    side = "teacher" if kind == "teacher" else "student"
    title = "teacher" if kind == "teacher" else "student before training"
    found: list[tuple[int, dict[str, Any]]] = []
    for index, run in enumerate(runs):
        metrics = dict(getattr(run.summary, kind))
        model = run.summary.models.get(side, {})
        if not metrics and (kind == "baseline" or not model):
            continue
        metrics |= {"parameters": model.get("parameters")} if "parameters" in model else {}
        known = next((entry for _, entry in found if _alike(entry, metrics)), None)
        if known is None:
            found.append((index, metrics))
        else:
            known.update({name: value for name, value in metrics.items() if name not in known})
    titles = [title] + [f"{title} ({runs[index].label})" for index, _ in found[1:]]
    rows = [
        _row(name, kind, index, metrics, runs[index])
        for name, (index, metrics) in zip(titles, found, strict=False)
    ]
    return rows or ([_row(title, kind, 0, {}, runs[0])] if kind == "baseline" else [])


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    pairs = [(finite(one[name]), finite(other[name])) for name in one.keys() & other.keys()]
    return all(a is None or b is None or math.isclose(a, b, rel_tol=1e-6) for a, b in pairs)


def _costs(run: Run) -> dict[str, Any]:
    summary = run.summary
    parameters = summary.models.get("student", {}).get("parameters")
    spent = {name: getattr(summary, name) for name in _COSTS}
    return {name: value for name, value in {**spent, "parameters": parameters}.items() if value}


def _row(
    name: str, kind: Literal["teacher", "baseline", "run"], index: int, metrics: Mapping[str, Any], run: Run
) -> Row:
    values = {column.key: finite(metrics.get(column.key)) for column in COLUMNS}
    cells = []
    for column in COLUMNS:
        value = values[column.key]
        if value is None:
            cells.append(Cell("—", _reason(column.key, kind, metrics.get(column.key), run)))
        else:
            cells.append(Cell(column.write(value)))
    return Row(name, kind, index, {key: value for key, value in values.items() if value is not None}, cells)


def _reason(key: str, kind: str, found: object, run: Run) -> str:
    if isinstance(found, int | float):
        return f"the value is {found}, which is not a finite number"
    if kind != "run" and key in _COSTS:
        return "not trained here"
    if kind == "teacher" and key in _OF_TEACHER:
        return "the teacher would be compared with itself"
    if key in (*_COSTS, "parameters"):
        return "not recorded"
    if key in _OF_TEACHER and not run.has_teacher:
        return "there was no teacher in this run"
    return run.why_unmeasured if kind == "run" else "not measured"


def _mark_best(rows: list[Row]) -> list[Row]:
    marked = [list(row.cells) for row in rows]
    for place, column in enumerate(COLUMNS):
        students = [i for i, row in enumerate(rows) if row.kind != "teacher" and column.key in row.values]
        if not column.better or len(students) < 2:
            continue
        choose = min if column.better == "lower" else max
        best = choose(rows[i].values[column.key] for i in students)
        for i in students:
            # equal to the reader is equal: digits that are not shown decide nothing
            if column.write(rows[i].values[column.key]) == column.write(best):
                marked[i][place] = Cell(marked[i][place].text, best=True)
    return [
        Row(row.label, row.kind, row.index, row.values, cells)
        for row, cells in zip(rows, marked, strict=True)
    ]
