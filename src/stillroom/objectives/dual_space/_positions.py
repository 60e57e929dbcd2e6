"""Positions of two models that can be compared: the same text before them, or the same token after them, too."""

from typing import Literal

from stillroom.alignment.batch import align
from stillroom.alignment.positions import Pairs
from stillroom.core.batch import Batch
from stillroom.objectives._two_vocabularies import SharedTokens


def paired_positions(batch: Batch, shared: SharedTokens, kind: Literal["context", "exact"]) -> Pairs:
    """Positions that predict a trained token on both sides: `rows`, `student`, `teacher`, each `[N]` int64.

    "context": both models have read the same bytes. "exact": of these, where the text goes on with one token of the
    same bytes on both sides.
    """
    if kind == "context":
        return shared.positions(batch)
    tokens = align(batch).exact
    before = Pairs(tokens.rows, tokens.student - 1, tokens.teacher - 1)
    # a token that nothing comes before has the position -1, the last one: that never predicts
    kept = batch.student.predicts[before.rows, before.student]
    kept = kept & batch.teacher.predicts[before.rows, before.teacher]
    if shared.spaces_differ:  # one tokenizer spells the first token of a response with a space before it
        kept = kept & batch.student.response_mask.bool()[before.rows, before.student]
    return Pairs(*(each[kept] for each in before))
