"""What went in: objectives, resolved recipe, and versions, hashes and machine of every run, folded away."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stillroom.report.markup import Markup, element, join, label, shorten
from stillroom.report.numbers import finite
from stillroom.report.read import Run

_LONGEST = 100_000


def settings_section(runs: Sequence[Run]) -> Markup:
    return join(*(_recipe(run) for run in runs), _provenance(runs))


def objectives_table(runs: Sequence[Run]) -> Markup:
    """Weight, terms and settings of every objective of every run."""
    head = element(
        "tr",
        *(element("th", name, scope="col") for name in ("Run", "Objective", "Weight", "Terms", "Settings")),
    )
    rows = []
    for index, run in enumerate(runs):
        for entry in run.summary.objectives:
            own = {key: entry[key] for key in ("learning_rate",) if key in entry}
            settings = [each for each in (own, entry.get("settings")) if each]
            cells = (entry.get("use"), entry.get("weight"), _terms(entry), settings)
            rows.append(
                element(
                    "tr",
                    element("th", swatch(index), label(run.label, 40), scope="row"),
                    *(element("td", _written(value) or "—") for value in cells),
                )
            )
    if not rows:
        return element("p", "— no run has recorded its objectives.", class_="absent")
    caption = element("caption", "Objectives and their weights")
    return scrolling("Objectives", element("table", caption, element("thead", head), element("tbody", *rows)))


def _terms(entry: Mapping[str, Any]) -> Any:
    """Every term with what it is counted in, and its weight where that is not one."""
    terms, weights = entry.get("terms"), entry.get("term_weights")
    if not isinstance(terms, Mapping) or not isinstance(weights, Mapping):
        return terms
    shown = {}
    for term, unit in terms.items():
        weight = finite(weights.get(term))
        shown[term] = unit if weight in (None, 1.0) else f"\u00d7 {weight:.3g} ({unit})"
    return shown


def swatch(index: int) -> Markup:
    """The color of a run, beside its name."""
    return element("span", class_=f"swatch c{index % 8}", aria_hidden="true")


def scrolling(name: str, table: Markup) -> Markup:
    """A wide table scrolls inside its own box, by finger and by keyboard, and leaves the page in place."""
    return element("div", table, class_="wide", role="region", aria_label=name, tabindex=0)


def _recipe(run: Run) -> Markup:
    if run.recipe is None:
        body = element("p", "— recipe.yaml is absent from the run folder.", class_="absent")
    else:
        body = element("pre", shorten(run.recipe, _LONGEST))
    return element("details", element("summary", "Recipe of ", label(run.label, 60)), body)


def _provenance(runs: Sequence[Run]) -> Markup:
    columns = [_facts(run) for run in runs]
    keys = list(dict.fromkeys(key for facts in columns for key in facts))
    head = element(
        "tr",
        element("th", "", scope="col"),
        *(element("th", label(run.label, 40), scope="col") for run in runs),
    )
    rows = []
    for key in keys:
        values = [facts.get(key, "—") for facts in columns]
        differs = "differs" if len(set(values)) > 1 else None
        cells = (element("td", shorten(value, 2000)) for value in values)
        rows.append(element("tr", element("th", label(key, 60), scope="row"), *cells, class_=differs))
    caption = element("caption", "Values that differ between runs are set in bold.") if len(runs) > 1 else ""
    table = element("table", caption, element("thead", head), element("tbody", *rows), class_="facts")
    title = element("summary", "Versions, hashes and machine")
    return element("details", title, scrolling("Versions, hashes and machine", table))


def _facts(run: Run) -> dict[str, str]:
    summary = run.summary
    top = {"exit": summary.exit, "seed": summary.seed, "steps": summary.steps, "tokens": summary.tokens}
    parts = {
        "models": summary.models,
        "data": summary.data,
        "environment": summary.environment,
        "versions": summary.versions,
    }
    return {"folder": run.path.name} | flat("", top) | flat("", parts)


def flat(prefix: str, value: Any) -> dict[str, str]:
    """Nested mappings as one, with dotted keys and values as a person would write them."""
    if not isinstance(value, Mapping):
        return {prefix: _written(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= flat(f"{prefix}.{key}" if prefix else str(key), inner)
    return found


def _written(value: Any) -> str:
    """Settings as a person would type them: `temperature 2.0, scale true`."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_written(inner)}".strip() for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    return json.dumps(value, ensure_ascii=False, default=str)
