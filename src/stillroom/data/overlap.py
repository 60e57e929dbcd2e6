"""Questions that training and evaluation data share: held-out numbers are only as good as this count is
low."""

from collections.abc import Sequence
from dataclasses import dataclass

from stillroom.data.columns import Sample


@dataclass(frozen=True)
class Overlap:
    """How many of the evaluation samples ask what a training sample asks, up to white space and case."""

    count: int
    total: int
    examples: tuple[tuple[str, str, str], ...]
    """Place in the training data, place in the evaluation data, the question's first 80 characters."""

    def __str__(self) -> str:
        shown = "; ".join(f"{mine} = {theirs}: {text!r}" for mine, theirs, text in self.examples)
        return f"{self.count} of {self.total} evaluation questions are also trained on" + (
            f" ({shown})" * bool(shown)
        )


def overlap(train: Sequence[Sample], evaluation: Sequence[Sample], num_examples: int = 3) -> Overlap:
    """Count the shared questions and name the first of them. Responses may differ: the question gives it
    away. An empty question (plain text) is nobody's."""
    seen: dict[str, Sample] = {}
    for sample in train:
        seen.setdefault(_key(sample), sample)
    seen.pop("", None)
    shared = [(seen[_key(sample)], sample) for sample in evaluation if _key(sample) in seen]
    examples = tuple(
        (mine.place, theirs.place, theirs.question.text[:80]) for mine, theirs in shared[:num_examples]
    )
    return Overlap(len(shared), len(evaluation), examples)


def _key(sample: Sample) -> str:
    return " ".join(sample.question.text.casefold().split())
