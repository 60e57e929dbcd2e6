"""A reproduction as Markdown: a table for each published column, and what cannot be compared."""

from collections.abc import Sequence

from stillroom.report.markdown import markdown_table
from stillroom.report.numbers import with_minus
from stillroom.reproduce.published import Published
from stillroom.reproduce.side_by_side import Pair

_HEADS = ("", "ours", "ours, difference [95 %]", "published", "published, difference", "same direction?")
_TINY = "Tiny scale: it shows that everything runs, and too little is trained for any verdict on a method."
_SMALL = (
    "Small scale: models of a few million parameters on the documentation of Python. Only directions can be held "
    "against the paper, never values."
)


def page(
    title: str,
    published: Published | None,
    pairs: Sequence[Pair],
    against: str,
    scale: str,
    missing: Sequence[str] = (),
) -> str:
    """Markdown. Differences are to `against`, paired by seed; `missing` is what no run has (`not_found`)."""
    parts = [f"# {title}, scale {scale}: ours beside the paper"]
    if published is None:
        return (
            "\n\n".join([*parts, "The paper prints no number for this; our own stand in compare.md."]) + "\n"
        )
    parts.append(f"{published.source}. Differences are to {against}; ours are paired by seed.")
    parts += [f"**{sentence}**" for sentence in missing]
    for column in published.columns:
        parts.append(_table(column, published, [pair for pair in pairs if pair.column == column]))
    notes = [{"tiny": _TINY, "small": _SMALL}.get(scale, ""), *published.cannot_compare]
    parts.append("What cannot be compared:\n\n" + "\n".join(f"* {note}" for note in notes if note))
    return "\n\n".join(parts) + "\n"


def _table(name: str, published: Published, pairs: Sequence[Pair]) -> str:
    beside = next((pair.ours_is for pair in pairs if pair.ours_is), "")
    title = f"{name} ({published.columns[name].better} is better). " + (
        f"Ours: {beside}." if beside else "Nothing of ours at this scale can stand beside it."
    )
    rows = [
        (
            pair.variant,
            _spread(pair.mean, pair.deviation),
            _difference(pair),
            _number(pair.published),
            _number(pair.published_difference, "+.4g"),
            pair.same_direction or "—",
        )
        for pair in pairs
    ]
    return f"**{title}**\n\n" + markdown_table(_HEADS, rows)


def _difference(pair: Pair) -> str:
    each = pair.difference
    if each is None:
        return "—"
    bounds = "" if each.low is None or each.high is None else f" [{each.low:+.2g}, {each.high:+.2g}]"
    return with_minus(f"{each.mean:+.2g}{bounds}")


def _spread(mean: float | None, deviation: float | None) -> str:
    return _number(mean) if mean is None or deviation is None else f"{mean:.4g} ± {deviation:.2g}"


def _number(value: float | None, form: str = ".4g") -> str:
    return "—" if value is None else with_minus(f"{value:{form}}")
