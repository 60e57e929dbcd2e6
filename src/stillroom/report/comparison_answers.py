"""Texts of teacher, untrained student and every variant under the same prompts."""

from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report.answers import Answer, answered
from stillroom.report.markup import Markup, element, join, label

_MOST_ANSWERS, _OPEN = 12, 4


def answers(content: Mapping[str, Any]) -> Markup | None:
    """Texts of all models under the same prompts, in the order in which they came."""
    entries = [each for each in content.get("answers") or [] if each.get("prompt") is not None]
    if not entries:
        return None
    names = list(content.get("variants") or {})
    articles = []
    for i, entry in enumerate(entries[:_MOST_ANSWERS], start=1):
        exam = f" of {label(str(entry['exam']), 40)}" if entry.get("exam") else ""
        texts = entry.get("texts") or {}
        order = [name for name in ("teacher", "student before training") if name in texts]
        order += [name for name in names if name in texts]
        order += [name for name in texts if name not in order]
        given = [Answer("Reference", "reference", _text(entry.get("reference")))]
        given += [Answer(name, _color(name, names), _text(texts[name])) for name in order]
        articles.append(answered(f"Prompt {i}{exam}", str(entry["prompt"]), given))
    note = element(
        "p", "One seed; prompts in the order of the data, not chosen. Long texts are cut.", class_="aside"
    )
    rest = articles[_OPEN:]
    folded = element("details", element("summary", f"{len(rest)} more prompts"), *rest) if rest else ""
    return join(note, *articles[:_OPEN], folded)


def _color(name: str, names: Sequence[str]) -> str:
    if name in names:
        return f"c{names.index(name) % 8}"
    return "teacher" if name.startswith("teacher") else "baseline"


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return "\n\n".join(map(str, value))
    return None if value is None else str(value)
