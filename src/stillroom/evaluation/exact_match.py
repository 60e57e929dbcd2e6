"""Exact match after normalization, as MiniLLM reports it beside Rouge-L.

    EM = 100 * share of predictions that equal one of their references

once both are lower-case, without punctuation (ASCII), and with single spaces.

Code:     the evaluation of Super-NaturalInstructions, which MiniLLM took over
Differs:  nothing; articles stay, which SQuAD's exact match removes
"""

import string
from collections.abc import Sequence

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Percent of `predictions` that match any of their references.

    >>> exact_match(["The  house!", "No."], [["a house", "the house"], ["yes"]])
    50.0
    """
    hits = sum(
        normalize(prediction) in {normalize(text) for text in known}
        for prediction, known in zip(predictions, references, strict=True)
    )
    return 100 * hits / len(predictions)


def normalize(text: str) -> str:
    """Lower-case words without punctuation, one space apart."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())
