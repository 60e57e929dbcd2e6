"""Held-out prompts with all answers side by side, matched between runs by the prompt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.report.markup import Markup, element, join, label, shorten
from stillroom.report.read import Run

_OPEN, _MOST, _LONGEST = 6, 40, 1500
Key = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """One text under a prompt; None where the run has none. `color` is a class of the style sheet."""

    label: str
    color: str
    text: str | None


def matched(runs: Sequence[Run]) -> list[tuple[str, list[Answer]]]:
    """Prompts in the order of the first run that has them, with their answers.

    These are: reference, teacher, student before training, the other runs, the main run. Repeated prompts are
    matched in order. A column that is empty throughout is left out.
    """
    tables = [_by_prompt(run) for run in runs]
    keys = list(dict.fromkeys(key for table in tables for key in table))

    def shared(key: Key, name: str) -> str | None:
        return next((text for table in tables if (text := _text(table.get(key, {}), name)) is not None), None)

    rows = []
    for key in keys:
        answers = [
            Answer("Reference", "reference", shared(key, "reference")),
            Answer("Teacher", "teacher", shared(key, "teacher")),
            Answer("Student before training", "baseline", shared(key, "baseline")),
        ]
        order = [*range(1, len(runs)), 0]
        for i in order:
            answers.append(Answer(runs[i].label, f"c{i % 8}", _text(tables[i].get(key, {}), "student")))
        rows.append((key[0], answers))
    kept = [any(answers[i].text is not None for _, answers in rows) for i in range(len(runs) + 3)]
    return [(prompt, [a for a, keep in zip(answers, kept, strict=True) if keep]) for prompt, answers in rows]


def answers_section(runs: Sequence[Run]) -> Markup:
    """The first prompts in the order of the file, the rest folded."""
    rows = matched(runs)
    if not rows:
        return element("p", "— no run has answered held-out prompts.", class_="absent")
    many = "prompt" if len(rows) == 1 else "prompts"
    total = f"{len(rows):,} held-out {many}, in the order of the data, not chosen."
    parts = [
        element("p", total, class_="aside"),
        *(answered(f"Prompt {i}", *row) for i, row in enumerate(rows[:_OPEN], start=1)),
    ]
    rest = rows[_OPEN:_MOST]
    if rest:
        title = element("summary", f"{len(rest)} more prompts")
        parts.append(
            element(
                "details",
                title,
                *(answered(f"Prompt {i}", *row) for i, row in enumerate(rest, start=_OPEN + 1)),
            )
        )
    if len(rows) > _MOST:
        parts.append(
            element("p", f"{len(rows) - _MOST:,} further prompts are in samples.jsonl.", class_="absent")
        )
    return join(*parts)


def answered(title: str, prompt: str, answers: Sequence[Answer]) -> Markup:
    """A prompt with its reference, and below it what the models answer."""
    question = element("div", element("h3", title), _box(prompt), class_="prompt")
    boxes = [
        element(
            "div", element("h4", label(answer.label, 40)), _box(answer.text), class_=f"answer {answer.color}"
        )
        for answer in answers
    ]
    # the reference belongs to the question; the models answer below
    asked = [
        question,
        *(box for box, answer in zip(boxes, answers, strict=True) if answer.color == "reference"),
    ]
    given = [box for box, answer in zip(boxes, answers, strict=True) if answer.color != "reference"]
    return element(
        "article", element("div", *asked, class_="asked"), element("div", *given, class_="answers")
    )


def _box(text: str | None) -> Markup:
    if text is None:
        return element("p", "— not answered", class_="absent")
    if not text.strip():
        return element("p", "(empty)", class_="absent")
    return element("div", shorten(text.strip(), _LONGEST), class_="text")


def _by_prompt(run: Run) -> dict[Key, Mapping[str, Any]]:
    seen: Counter[str] = Counter()
    table: dict[Key, Mapping[str, Any]] = {}
    for row in run.samples:
        prompt = _text(row, "prompt")
        if prompt is not None:
            table[prompt, seen[prompt]] = row
            seen[prompt] += 1
    return table


def _text(row: Mapping[str, Any], name: str) -> str | None:
    """A text of a sample; data sets with several references join them."""
    value = row.get(name)
    if isinstance(value, list):
        return "\n\n".join(str(item) for item in value)
    return None if value is None else str(value)
