"""A search as Markdown: the best trial, how to use it, what matters, and every trial."""

from collections.abc import Mapping
from typing import Any

from stillroom.report.markdown import markdown_table
from stillroom.report.markup import clean
from stillroom.report.numbers import duration


def search_table(content: Mapping[str, Any]) -> str:
    """`content` is what search.json holds."""
    cautions = "\n".join(f"* {each}" for each in content["cautions"])
    parts = [_head(content), _best(content), cautions, _importance(content), _trials(content)]
    return clean("\n\n".join(part for part in parts if part)) + "\n"


def _head(content: Mapping[str, Any]) -> str:
    searched = ", ".join(content["space"])
    lines = [
        f"# Search: {len(content['trials'])} of {content['asked']} trials of {searched}",
        " ".join(content["about"].split()),
        f"`{content['command']}`" if content["command"] else "",
        f"Sampler {content['sampler']}, seed {content['seed']}; {content['metric']} on {content['held_out']}, "
        f"{content['better']} is better.",
    ]
    return "\n\n".join(line for line in lines if line)


def _best(content: Mapping[str, Any]) -> str:
    best = content["best"]
    if best is None:
        return "**No trial came to a value.**"
    return (
        f"**Best: trial {best['number']}, {content['metric']} {best['value']:.4f}.** It stands in best.yaml "
        f"(`stillroom distill best.yaml`), or as words:\n\n    {content['words']}"
    )


def _importance(content: Mapping[str, Any]) -> str:
    if not content["importance"]:
        return ""
    rows = [[f"`{key}`", f"{share:.0%}"] for key, share in content["importance"].items()]
    return "What separates good trials from the rest (PED-ANOVA):\n\n" + markdown_table(
        ["setting", "share"], rows
    )


def _trials(content: Mapping[str, Any]) -> str:
    keys = list(content["space"])
    rows = []
    for trial in _ranked(content):
        value = "failed" if trial["value"] is None else f"{trial['value']:.4f}"
        seconds = duration(trial["seconds"]) if "seconds" in trial else "—"
        cells = [short(trial["values"].get(key)) for key in keys]
        rows.append([str(trial["number"]), value, *cells, seconds, trial.get("reason", "")])
    heads = ["trial", content["metric"], *(f"`{key}`" for key in keys), "time", ""]
    return "All trials, the best first:\n\n" + markdown_table(heads, rows)


def _ranked(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    sign = -1.0 if content["better"] == "higher" else 1.0
    failed_last = float("inf")
    return sorted(
        content["trials"],
        key=lambda trial: (failed_last if trial["value"] is None else sign * trial["value"], trial["number"]),
    )


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "—" if value is None else str(value)
