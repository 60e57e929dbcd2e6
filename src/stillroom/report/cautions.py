"""What to know before believing the table: notes of the runs, and what makes them unlike each other."""

from collections.abc import Sequence
from typing import Any

from stillroom.report.numbers import finite
from stillroom.report.read import Run

_NO_COUNT = frozenset({"samples", "response_tokens", "tokens", "source", "sha256"})
_SAME_TOKENS = 0.01


def cautions(runs: Sequence[Run]) -> list[str]:
    """Sentences on whether the runs of a report can be compared at all."""
    found = []
    if len(runs) > 1:
        for what, values in (
            ("evaluated on different data", [run.summary.data.get("eval", {}).get("sha256") for run in runs]),
            ("trained on different data", [run.summary.data.get("train", {}).get("sha256") for run in runs]),
            (
                "started from different students",
                [run.summary.models.get("student", {}).get("sha256") for run in runs],
            ),
            ("run on different devices", [run.summary.environment.get("device") for run in runs]),
        ):
            if len({str(value) for value in values if value}) > 1:
                found.append(
                    f"The runs were {what}." if not what.startswith("started") else f"The runs {what}."
                )
        tokens = [run.summary.tokens for run in runs if run.summary.tokens]
        if tokens and max(tokens) - min(tokens) > _SAME_TOKENS * max(tokens):
            found.append(
                f"The runs were trained on {min(tokens):,} to {max(tokens):,} tokens, not on equally many."
            )
    if len({run.summary.seed for run in runs}) <= 1:
        found.append("Every row is one run with one seed: small differences may be chance.")
    return found


def notes(run: Run) -> list[str]:
    """Notes of one run: its own, what its data lost on the way, and files that are missing."""
    found = list(run.summary.notes)
    for entry in run.summary.objectives:
        if entry.get("additive") is False:
            found.append(
                f"{entry.get('use', 'an objective')} depends on batch statistics: it is averaged over "
                "micro-batches, so another batch size is another objective."
            )
    for name, data in run.summary.data.items():
        counts = [
            f"{key.replace('_', ' ')} {_written(value)}"
            for key, value in data.items()
            if key not in _NO_COUNT and finite(value)
        ]
        if counts:
            found.append(f"Data for {name}: {', '.join(counts)}.")
    return found + run.problems


def _written(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
