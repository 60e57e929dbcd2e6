"""Words and phrases in numbers, for the page and the terminal: how many, and how many tokens are in one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillroom.report.numbers import fixed, percent

Figures = Mapping[str, int | float | None]
"""Of one kind of unit: `units`, `byte_share`, and of either side `..._tokens_each`, `..._single`, `..._missing`."""

NOTHING = "—"
HEAD = ("student · teacher", "number", "bytes", "tokens in one", "one token", "no token")


@dataclass(frozen=True)
class SpanView:
    """What was counted of words and phrases, and who found them."""

    cut_by: str
    """Who cut them, with the version: "textblob 0.20.1"."""
    texts: int
    unknown: int
    """Texts in a language that it does not know."""
    chunks: Figures
    words: Figures
    phrases: Figures
    labels: Mapping[str, Figures]
    """Phrases by what they are called."""

    def sentence(self) -> str:
        """Who found the words and phrases, and of which texts it does not know the language."""
        found = f"Words and phrases by {self.cut_by}."
        if not self.unknown:
            return found
        whose = "the text" if self.texts == 1 else f"{self.unknown:,} of {self.texts:,} texts"
        return (
            f"{found} It does not know the language of {whose}: the phrases there are nothing but up to three words in "
            "a row."
        )

    def rows(self) -> list[Sequence[str]]:
        """A row for every kind of unit, its columns as in `HEAD`."""
        kinds = {
            "chunks (SRA: spans)": self.chunks,
            "words": self.words,
            "phrases": self.phrases,
        }
        labels = {f"· {name or 'no label'}": self.labels[name] for name in self._by_number()}
        return [_row(name, figures) for name, figures in (kinds | labels).items()]

    def _by_number(self) -> list[str]:
        """Labels, the most frequent one first."""
        return sorted(self.labels, key=lambda name: (-(self.labels[name]["units"] or 0), name))


def _row(name: str, figures: Figures) -> Sequence[str]:
    units = figures["units"] or 0
    each, single, missing = (
        [figures[f"{side}_{what}"] for side in ("student", "teacher")]
        for what in ("tokens_each", "single", "missing")
    )
    share = figures["byte_share"]
    return (
        name,
        f"{units:,}",
        NOTHING if share is None else percent(share, 0),
        " · ".join(NOTHING if mean is None else fixed(mean, 2) for mean in each),
        " · ".join(percent((count or 0) / units, 0) if units else NOTHING for count in single),
        " · ".join(f"{count:,}" for count in missing),
    )
