"""What an objective makes of the teacher's heads: shares over held-out texts, and the maps of one of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.inspection import Heads, Place, Sentence
from stillroom.core.progress import Advance
from stillroom.core.signals import Signals
from stillroom.data.templates import Piece
from stillroom.data.tokens import opening_ids, tokenize
from stillroom.diagnostics.head_maps import layer_picture, shown, spread
from stillroom.diagnostics.head_merges import MergeCount, OffersMerges
from stillroom.taps.capture import capture
from stillroom.training.pair import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Item = Mapping[str, Any]
Inputs = dict[str, Tensor]


@dataclass
class HeadInspector:
    """A training at a place, and how it is asked: `collate` items to a batch where the models lie, `ask` the teacher
    about it, and say its tokens in `words`."""

    pair: Pair
    collate: Callable[[Sequence[Item]], Inputs]
    ask: Callable[[Inputs], Signals]
    words: Callable[[Sequence[int]], list[str]]
    place: Place

    def look(
        self,
        name: str,
        objective: OffersMerges,
        texts: Sequence[Item],
        size: int,
        text: tuple[str, Item],
        layers: Sequence[int],
        advance: Advance,
    ) -> Heads:
        """`texts` in batches of `size` for the shares, `text` with the name of its source for the maps of student
        `layers` (none: three of them). Raises `BadInput` for layers that are not compared."""
        sentence = self._sentence(objective, *text, layers)
        counts: dict[int, MergeCount] = {}
        for start in range(0, len(texts), size):
            inputs = self.collate(texts[start : start + size])
            batch, teacher = Batch.from_inputs(inputs), self.ask(inputs)
            for number, merge in enumerate(objective.merges(teacher, batch)):
                counts.setdefault(number, MergeCount()).add(merge, teacher, batch.teacher.attention_mask)
            advance(min(start + size, len(texts)), len(texts), "shares")
        merged = [count.result() for count in counts.values()]
        found = Heads(name, self.place, len(texts), merged, sentence)
        if all(each.outside is None for each in merged):
            found.notes.append(
                "Shares do not depend on the text here: they have no distribution, and no error is measured."
            )
        return found

    def _sentence(self, objective: OffersMerges, source: str, item: Item, layers: Sequence[int]) -> Sentence:
        inputs = _without_padding(self.collate([item]))
        batch, teacher = Batch.from_inputs(inputs), self.ask(inputs)
        side = batch.student
        shape = self.pair.student_shape
        student = capture(self.pair.student, side, self.pair.student_requests, vocab_size=shape.vocab_size)
        merges = {merge.layer: merge for merge in objective.merges(teacher, batch)}
        chosen = list(layers) or spread(list(merges))
        if absent := [layer for layer in chosen if layer not in merges]:
            raise BadInput(
                f"--layer: expected layers of the student that are compared, {', '.join(map(str, merges))}, "
                f"got {absent[0]}"
            )
        window = shown(side.response_mask[0])
        return Sentence(
            source,
            self.words(side.input_ids[0, window].tolist()),
            window.start,
            side.input_ids.shape[1],
            [layer_picture(merges[layer], student, teacher, window) for layer in chosen],
        )


def _without_padding(inputs: Inputs) -> Inputs:
    """Of a batch of one sample, under one tokenizer: a collator may pad to a round length."""
    real = inputs["attention_mask"][0].bool()
    return {name: each[:, real] if each.dim() == 2 else each for name, each in inputs.items()}


def as_item(sentence: str, tokenizer: "PreTrainedTokenizerBase", most: int) -> Item:
    """A text without a template, at most `most` tokens of it, of which each is trained on."""
    ids = (opening_ids(tokenizer) + tokenize([Piece(sentence, is_literal=True)], tokenizer)[0])[:most]
    if len(ids) < 2:
        raise BadInput(f"--sentence: expected a text of at least 2 tokens, got {sentence!r}")
    return {"input_ids": ids, "response_mask": [False] + [True] * (len(ids) - 1), "sample_ids": 0}


def words(ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Every token as a reader sees it; line breaks are written out."""
    return [tokenizer.decode([token]).replace("\n", "\u23ce").strip() or "\u2423" for token in ids]
