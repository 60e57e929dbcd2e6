"""The learning rates of a comparison: what was tried for each variant, and what came of it."""

from collections.abc import Mapping
from typing import Any

from stillroom.report.markup import Markup, element
from stillroom.report.numbers import finite, with_minus
from stillroom.report.tables import number, plain_table, variant_head


def trials_table(content: Mapping[str, Any]) -> Markup | None:
    """Held-out loss of the short trials by learning rate; the chosen rate is underlined. None: there were none."""
    trials = _trials(content)
    rates = sorted({rate for losses in trials.values() for rate in losses})
    if not rates:
        return None
    variants = content.get("variants") or {}
    places = {name: index for index, name in enumerate(variants)}
    rows = []
    for name, losses in trials.items():
        chosen = finite(variants.get(name, {}).get("learning_rate"))
        cells = [
            element("td", element("strong", number(losses[rate])), class_="best", title="chosen")
            if rate == chosen and rate in losses
            else element("td", number(losses.get(rate)))
            for rate in rates
        ]
        rows.append(element("tr", variant_head(name, places.get(name, 0)), *cells))
    heads = [with_minus(f"{rate:g}") for rate in rates]
    caption = "Held-out loss of short trials with the first seed, by learning rate. Underlined: the rate of the runs."
    return plain_table("Learning rates", caption, ["Method", *heads], rows)


def _trials(content: Mapping[str, Any]) -> dict[str, dict[float, float]]:
    return {
        name: {float(rate): loss for rate, value in losses.items() if (loss := finite(value)) is not None}
        for name, losses in (content.get("trials") or {}).items()
    }
