"""The samples of a recipe as its models read them: under one tokenizer, or under that of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillroom.data.dataset import EncodedDataset, PairedDataset
from stillroom.data.encode import Segment, encode
from stillroom.data.prompts import PromptItem, prompts_for_generation
from stillroom.recipe.schema import Recipe
from stillroom.recipe.vocabularies import Vocabularies

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from stillroom.data.columns import Sample


@dataclass(frozen=True)
class Encoding:
    """`tokenizers` by role; the teacher's is asked only where there are two vocabularies."""

    recipe: Recipe
    tokenizers: "Mapping[str, PreTrainedTokenizerBase]"
    vocabularies: Vocabularies

    def paired(
        self, samples: "Sequence[Sample]", segment: Segment | None = None, **changes: Any
    ) -> EncodedDataset | PairedDataset:
        """`segment` where words and phrases are wanted; `changes` replace settings of the recipe. `BadInput` as
        `encode`."""
        if segment is not None:
            changes["segment"] = segment
        if not self.vocabularies.are_two:
            table = self.vocabularies.student.tokens
            return self.of("student", samples, tables=(table,) if segment and table else (), **changes)
        ours, theirs = self.vocabularies.tables
        return PairedDataset(
            self.of("student", samples, tables=(ours, theirs), **changes),
            self.of("teacher", samples, tables=(theirs, ours), **changes),
        )

    def of(self, role: str, samples: "Sequence[Sample]", **changes: Any) -> EncodedDataset:
        """Under the tokenizer of one model."""
        data = self.recipe.data
        settings = {
            "template": data.template,
            "max_length": data.max_length,
            "max_prompt_length": data.max_prompt_length,
            "train_on": data.train_on,
            "on_bad_record": data.on_bad_record,
        }
        return encode(samples, self.tokenizers[role], **settings | changes)  # type: ignore[arg-type]

    def prompts(self, samples: "Sequence[Sample]") -> tuple[list[PromptItem], list[PromptItem]]:
        """To answer: by the student, and by the teacher."""
        ours = self._prompts("student", samples)
        return ours, self._prompts("teacher", samples) if self.vocabularies.are_two else ours

    def _prompts(self, role: str, samples: "Sequence[Sample]") -> list[PromptItem]:
        data = self.recipe.data
        limit = data.max_prompt_length or data.max_length // 2
        return prompts_for_generation(samples, self.tokenizers[role], data.template, limit)


def sides(data: EncodedDataset | PairedDataset) -> tuple[EncodedDataset, EncodedDataset | None]:
    """The student's side, and the teacher's where it has a tokenizer of its own."""
    return (data.student, data.teacher) if isinstance(data, PairedDataset) else (data, None)
