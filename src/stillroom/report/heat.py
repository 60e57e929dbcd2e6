"""A table of cosines between every two terms: blue where they pull together, red where they pull apart."""

from collections.abc import Mapping, Sequence

from stillroom.core.inspection import GradientPair
from stillroom.report.markup import Markup, element, label
from stillroom.report.numbers import cosine, fixed
from stillroom.report.settings import scrolling


def heat_table(caption: str, terms: Sequence[str], pairs: Sequence[GradientPair]) -> Markup:
    """Upper triangle: mean cosine and, below it, its standard deviation and the share of conflicts."""
    found: Mapping[tuple[str, str], GradientPair] = {(each.first, each.second): each for each in pairs}
    rows = [
        element(
            "tr",
            element("th", label(term, 48), scope="row"),
            *(
                _cell(found.get((term, other)), row, column)
                for column, other in enumerate(terms)
                if column > 0
            ),
        )
        for row, term in enumerate(terms[:-1])
    ]
    heads = (element("th", label(term, 48), scope="col") for term in terms[1:])
    head = element("thead", element("tr", element("th", "", scope="col"), *heads))
    return scrolling(
        caption, element("table", element("caption", caption), head, element("tbody", *rows), class_="heat")
    )


def _cell(pair: GradientPair | None, row: int, column: int) -> Markup:
    if column <= row:
        return element("td", "")
    if pair is None or pair.cosine is None:
        return element("td", "—", class_="absent", title="one of the two gradients is zero or not finite")
    strength = f"--s:{100 * min(1.0, abs(pair.cosine)):.0f}%"
    detail = "" if pair.cosine_sd is None else f"± {pair.cosine_sd:.2f}"
    return element(
        "td",
        element("b", cosine(pair.cosine)),
        element("span", detail, class_="unit"),
        class_="aligned" if pair.cosine >= 0 else "opposed",
        style=strength,
        title=_words(pair),
    )


def _words(pair: GradientPair) -> str:
    return (
        f"{pair.first} and {pair.second}: cosine {cosine(pair.cosine or 0.0)}, 1 - cosine "
        f"{cosine(pair.opposition or 0.0)}, negative in {100 * (pair.conflict_rate or 0.0):.0f} % of "
        f"{pair.batches} batches, norms {fixed(pair.norm_ratio or 0.0, 2)} to 1"
    )
