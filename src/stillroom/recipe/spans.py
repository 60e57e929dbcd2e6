"""Words and phrases of the training text: who cuts them, and what came of it. Objectives ask, recipes say how."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.core.objective import Objective
from stillroom.core.progress import Advance
from stillroom.recipe.schema import Recipe, SpansChoice
from stillroom.recipe.vocabularies import Vocabularies

if TYPE_CHECKING:
    from stillroom.data.columns import Sample
    from stillroom.data.spans.segmentation import Spans

GIVEN = "the data"
"""Who cut the spans that records bring."""


def wanted(recipe: Recipe, objectives: Iterable[Objective]) -> SpansChoice | None:
    """How the text is cut; None where no objective asks."""
    return (recipe.data.spans or SpansChoice()) if any(each.units for each in objectives) else None


class Segmentation:
    """Cuts the texts of samples (a `Segment` of `data.encode`), and shows how far it is.

    `BadInput` where the segmenter cannot be had, or the tokens of a model have no known bytes.
    """

    def __init__(
        self, chosen: SpansChoice, vocabularies: Vocabularies, samples: int, advance: Advance
    ) -> None:
        from stillroom.data.spans.make import make_segmenter

        if vocabularies.student.tokens is None:
            raise BadInput(
                "words and phrases are found in tokens by their bytes, and those of the student's tokenizer are not "
                "known: it has no definition (tokenizer.json); save the model with one of the tokenizers library"
            )
        self._chosen, self._advance, self._samples = chosen, advance, samples
        self._segmenter = None if chosen.use == "given" else make_segmenter(chosen.use, chosen.pipeline)
        self.identity = GIVEN if self._segmenter is None else self._segmenter.identity

    def __call__(self, texts: "Sequence[tuple[Sample, str]]") -> "Sequence[Spans]":
        if self._segmenter is None:
            from stillroom.data.spans.given import given_spans

            return [given_spans(sample, text, self._chosen.offsets) for sample, text in texts]
        if texts:
            record = texts[-1][0].index
            self._advance(record + 1, max(self._samples, record + 1), "samples cut into words and phrases")
        return self._segmenter.segment([text for _, text in texts])


def notes(identity: str, counts: Mapping[str, int]) -> list[str]:
    """What a person should know of the spans that were found; `counts` are those of `encode`."""
    said = [
        f"Spans: {counts['words']:,} words and {counts['phrases']:,} phrases of {counts['samples']:,} samples, cut by "
        f"{identity}. Results of different segmenters do not compare."
    ]
    if counts["unknown_language"]:
        said.append(
            f"Spans: {counts['unknown_language']:,} texts are in a language that {identity} does not know; they were "
            "cut into windows of words, which are no phrases of any grammar (data.spans.use: windows cuts all so)."
        )
    if counts["without_spans"]:
        said.append(
            f"Spans: {counts['without_spans']:,} samples have no whole word or phrase and take no part in what is "
            "compared by spans."
        )
    return said
