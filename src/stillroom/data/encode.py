"""Samples to token ids with the mask of what is trained on.

Prompt and response are tokenized apart, so that the prompt's ids while training are those while generating; a
prompt that is too long loses its beginning and keeps the words that ask for the answer. The end token follows
the response and is trained on, unless the response was cut. Masks come from lengths, never from ids: a
padding id that equals the end token's stays harmless.

With byte tables of two tokenizers every token also gets its byte end in the text, so that the rows of both can be
aligned (`alignment.rows`): what is said and trained on are texts, all other tokens lie outside. The token that ends a
text takes part by its role. Texts are brought into the form that both tokenizers read; samples of which a tokenizer
keeps no byte ends are dropped and counted.

With a segmenter every token also gets the numbers of the word and of the phrase of its text that it is part of. Numbers
are those of the whole text, so that two tokenizers agree on them; spans that lost a token to the length are left out.

Deviations: MiniLLM and DSKD drop long prompts in training and keep the first tokens in evaluation; here both
keep the last. They never add a begin token; here the prompt opens with what the tokenizer puts before a text.
SentencePiece tokenizers that put a space before any text do so before the response, too.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np

from stillroom.alignment.byte_ends import ends_from_bytes, ends_from_offsets
from stillroom.alignment.reader import common_form
from stillroom.alignment.spans import whole
from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput
from stillroom.data.columns import Sample
from stillroom.data.dataset import EncodedDataset
from stillroom.data.placement import Placement
from stillroom.data.sources import OnBadRecord
from stillroom.data.spans.segmentation import Spans
from stillroom.data.templates import Piece, Rendered, Template, make_template
from stillroom.data.tokens import opening_ids, special_tokens, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TrainOn = Literal["responses", "all_assistant", "everything"]
COUNTS = (
    "samples",
    "tokens",
    "response_tokens",
    "dropped_empty",
    "dropped_no_response",
    "cut_prompts",
    "cut_responses",
    "special_in_text",
)
UNALIGNED = "dropped_unaligned"
"""Counted where byte ends are asked for: samples that the tokenizer rewrites beyond recognition."""
SPANS = ("words", "phrases", "unknown_language", "without_spans")
"""Counted where text is cut into spans: those that are whole in their row, texts in a language that the segmenter does
not know, and samples with no span of either kind."""
MAX_EMPTY_SHARE = 0.01
CHUNK = 1024  # samples a tokenizer call: enough for its threads, little enough to hold twice

T = TypeVar("T")
Segment = Callable[[Sequence[tuple[Sample, str]]], Sequence[Spans]]
"""Spans of texts, each given with the sample that it is of."""


def encode(
    samples: Sequence[Sample],
    tokenizer: "PreTrainedTokenizerBase",
    template: str | Template,
    max_length: int,
    max_prompt_length: int | None = None,
    train_on: TrainOn = "responses",
    on_bad_record: OnBadRecord = "refuse",
    tables: Sequence[ByteTable] = (),
    segment: Segment | None = None,
) -> EncodedDataset:
    """Token ids of all samples: at most `max_length` each, `max_prompt_length` (default: half) of it prompt.

    `train_on`: the last response; every turn of the assistant; or every token. Empty responses are dropped
    and counted, and refused where they are more than 1 % and `on_bad_record` is "refuse". `tables`, of this tokenizer
    and of the one it is aligned with, ask for byte ends; `segment` asks for words and phrases, and needs the first of
    these tables. `BadInput` also where no sample is left.
    """
    max_prompt_length = max_length // 2 if max_prompt_length is None else max_prompt_length
    _check_settings(max_length, max_prompt_length, train_on)
    template = make_template(template, tokenizer) if isinstance(template, str) else template
    encoder = _Encoder(tokenizer, template, max_length, max_prompt_length, train_on, tables, segment)
    kept = [sample for sample in samples if sample.response.strip()]
    _check_empty(samples, len(samples) - len(kept), on_bad_record)
    encoder.counts["dropped_empty"] = len(samples) - len(kept)
    for start in range(0, len(kept), CHUNK):
        encoder.add(kept[start : start + CHUNK])
    if not encoder.ids:
        raise BadInput(
            f"none of {len(samples)} samples is left to train on ({encoder.counts['dropped_empty']} empty, "
            f"{encoder.counts['dropped_no_response']} without a response token in max_length {max_length}, "
            f"{encoder.counts.get(UNALIGNED, 0)} that the tokenizer rewrites)."
        )
    checksums = encoder.checksums if encoder.aligns else None
    return EncodedDataset(
        encoder.ids, encoder.masks, encoder.sample_ids, encoder.counts, encoder.known, checksums
    )


def _with_end(text: Rendered) -> Iterator[tuple[Piece | None, bool]]:
    """Every piece with whether it is of the response, then None for the end token."""
    yield from ((piece, False) for piece in text.prompt)
    yield from ((piece, True) for piece in text.response)
    yield None, True


def keep_end(opening: list[T], tokens: list[T], limit: int) -> list[T]:
    """`opening` and the last `tokens`, together at most `limit` long."""
    room = max(limit - len(opening), 0)
    return opening[:limit] + tokens[max(len(tokens) - room, 0) :]


class _Encoder:
    """Collects rows; its fields are what one call of `encode` shares between samples."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: Template,
        max_length: int,
        max_prompt_length: int,
        train_on: TrainOn,
        tables: Sequence[ByteTable],
        segment: Segment | None,
    ) -> None:
        self._tables, self._segment = tables, segment
        self.aligns = len(tables) > 1
        self._tokenizer, self._template, self._train_on = tokenizer, template, train_on
        self._max_length, self._max_prompt_length = max_length, max_prompt_length
        self._opening = [] if template.writes_opening else opening_ids(tokenizer)
        self._specials = re.compile("|".join(map(re.escape, special_tokens(tokenizer))) or "(?!)")
        self.ids: list[np.ndarray] = []
        self.masks: list[np.ndarray] = []
        wanted = (*(("byte_ends",) if self.aligns else ()), *(("words", "phrases") if segment else ()))
        self.known: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
        self.checksums: list[int] = []
        self.sample_ids: list[int] = []
        counted = (*COUNTS, *((UNALIGNED,) if self.aligns else ()), *(SPANS if segment else ()))
        self.counts: dict[str, int] = dict.fromkeys(counted, 0)

    def add(self, samples: Sequence[Sample]) -> None:
        every_turn = self._train_on == "all_assistant"
        rendered = [self._in_common_form(self._template.render(sample, every_turn)) for sample in samples]
        pieces = [piece for text in rendered for piece in (*text.prompt, *text.response)]
        tokens = iter(tokenize(pieces, self._tokenizer))
        spans = iter(self._spans(samples, rendered))
        for sample, text in zip(samples, rendered, strict=True):
            prompt = [next(tokens) for _ in text.prompt]
            response = [next(tokens) for _ in text.response]
            cut = [next(spans) for _ in self._texts(text)] if self._segment else None
            self._add_row(sample, text, prompt, response, cut)

    def _spans(self, samples: Sequence[Sample], rendered: Sequence[Rendered]) -> Sequence[Spans]:
        if self._segment is None:
            return []
        pairs = zip(samples, rendered, strict=True)
        return self._segment([(sample, words) for sample, text in pairs for words in self._texts(text)])

    def _texts(self, text: Rendered) -> list[str]:
        """What is said and trained on. A special token that a person spelled is a piece of its own, but no end of a
        text: another tokenizer does not see it, and must find the same words."""
        groups = groupby(_with_end(text), lambda each: self._role(*each))
        return [
            "".join(piece.text for piece, _ in group if piece) for (is_text, _), group in groups if is_text
        ]

    def _in_common_form(self, text: Rendered) -> Rendered:
        if not self._tables:
            return text
        prompt, response = (
            [replace(piece, text=common_form(piece.text, self._tables)) for piece in pieces]
            for pieces in (text.prompt, text.response)
        )
        return replace(text, prompt=prompt, response=response)

    def _add_row(
        self,
        sample: Sample,
        text: Rendered,
        prompt: list[list[int]],
        response: list[list[int]],
        spans: Sequence[Spans] | None,
    ) -> None:
        ids = [token for piece in prompt for token in piece]
        trained: list[bool] = []
        for piece, row in zip(text.prompt, prompt, strict=True):
            trained += [self._is_trained(piece)] * len(row)
        kept = keep_end(self._opening, ids, self._max_prompt_length)
        opening = [self._train_on == "everything"] * len(self._opening)
        mask = keep_end(opening, trained, self._max_prompt_length)
        is_cut = len(kept) < len(self._opening) + len(ids)

        ending = [] if text.is_closed else [self._end_token()]
        answer = [token for piece in response for token in piece]
        said = (answer + ending)[: self._max_length - len(kept)]
        row, mask = kept + said, mask + [True] * len(said)
        mask[:1] = [False]  # nothing comes before the first token, so nothing predicts it
        if not answer or not any(mask[len(kept) :]):
            self.counts["dropped_no_response"] += 1
            return
        if self._tables:
            placed = self._placed(text, [*prompt, *response, ending], spans)
            if placed.checksum is None and self.aligns:
                self.counts[UNALIGNED] += 1
                return
            self.checksums.append(placed.checksum or 0)
            self._keep(placed, len(self._opening), len(self._opening) + len(ids), len(said))
        self.ids.append(np.asarray(row, np.int32))
        self.masks.append(np.asarray(mask, np.bool_))
        self.sample_ids.append(sample.index)
        self._count(
            samples=1,
            tokens=len(row),
            response_tokens=sum(mask),
            cut_prompts=is_cut,
            cut_responses=len(said) < len(answer + ending),
            special_in_text=self._spells_special(text),
        )

    def _placed(self, text: Rendered, rows: Sequence[list[int]], spans: Sequence[Spans] | None) -> Placement:
        """Every token of a whole row, before anything is cut from it, in its text; `rows` are the tokens of all pieces,
        and the end token."""
        found = Placement(len(self._opening))
        cut = iter(spans or ())
        both = zip(_with_end(text), rows, strict=True)
        for (is_text, _), group in groupby(both, lambda each: self._role(*each[0])):
            pieces = [(piece, row) for (piece, _), row in group]
            if is_text:
                ends = self._ends_of_text([(piece.text, row) for piece, row in pieces if piece])
                if ends is None:
                    return Placement(len(self._opening) + sum(map(len, rows)), checksum=None)
                found.say("".join(piece.text for piece, _ in pieces if piece).encode(), ends, next(cut, None))
                continue
            for piece, row in pieces:
                close_or_skip = found.close if piece is None or piece.is_closing else found.skip
                close_or_skip(len(row))
        return found

    def _keep(self, placed: Placement, opened: int, asked: int, said: int) -> None:
        """What is left of a row: the last of what is `asked` behind what is `opened`, and the first that are `said`."""

        before = keep_end(list(range(opened)), list(range(opened, asked)), self._max_prompt_length)
        left = np.concatenate([np.asarray(before, np.int64), np.arange(asked, asked + said)])
        if self.aligns:
            self.known["byte_ends"].append(placed.byte_ends()[left])
        if self._segment is None:
            return
        kept = {name: whole(units[left], units) for name, units in placed.units().items()}
        counts = {name: len(np.unique(units[units >= 0])) for name, units in kept.items()}
        self._count(**counts, unknown_language=placed.unknown, without_spans=not any(counts.values()))
        for name, units in kept.items():
            self.known[name].append(units.astype(np.int32))

    def _ends_of_text(self, pieces: Sequence[tuple[str, list[int]]]) -> np.ndarray | None:
        """Byte ends of all tokens of a text in its pieces; None where those of one are not known."""
        found, size = [], 0
        for text, ids in pieces:
            ends = self._ends_of(text, ids)
            if ends is None:
                return None
            found.append(ends + size)
            size += len(text.encode())
        return np.concatenate(found)

    def _ends_of(self, text: str, ids: list[int]) -> np.ndarray | None:
        ends = ends_from_bytes(ids, text.encode(), self._tables[0])
        if ends is not None:
            return ends
        encoded = self._tokenizer(
            text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        return ends_from_offsets(encoded["offset_mapping"], text) if encoded["input_ids"] == ids else None

    def _role(self, piece: Piece | None, is_said: bool) -> tuple[bool, bool]:
        """Whether a piece is of a text that is said and trained on, and whether it is of the response."""
        return piece is not None and self._is_text(piece, is_said), is_said

    def _is_text(self, piece: Piece, is_said: bool) -> bool:
        trained = is_said or self._is_trained(piece)
        return (piece.is_literal or piece.is_assistant) and trained and not piece.is_closing

    def _is_trained(self, piece: Piece) -> bool:
        return self._train_on == "everything" or (self._train_on == "all_assistant" and piece.is_assistant)

    def _spells_special(self, text: Rendered) -> bool:
        literal = (piece.text for piece in (*text.prompt, *text.response) if piece.is_literal)
        return any(self._specials.search(words) for words in literal)

    def _count(self, **counts: int) -> None:
        for name, count in counts.items():
            self.counts[name] += count

    def _end_token(self) -> int:
        if self._tokenizer.eos_token_id is None:
            name = self._tokenizer.name_or_path or "given"
            raise BadInput(
                f"the tokenizer {name!r} has no end token to close responses with; set its eos_token."
            )
        return self._tokenizer.eos_token_id


def _check_settings(max_length: int, max_prompt_length: int, train_on: str) -> None:
    if max_length < 2:
        raise BadInput(f"max_length must be at least 2 tokens (one asked, one answered), got {max_length}.")
    if not 1 <= max_prompt_length <= max_length:
        raise BadInput(
            f"max_prompt_length must lie between 1 and max_length {max_length}, got {max_prompt_length}."
        )
    if train_on not in get_args(TrainOn):
        raise BadInput(f"train_on must be one of {', '.join(get_args(TrainOn))}, got {train_on!r}.")


def _check_empty(samples: Sequence[Sample], empty: int, on_bad_record: OnBadRecord) -> None:
    if on_bad_record == "refuse" and empty > MAX_EMPTY_SHARE * len(samples):
        first = next(sample for sample in samples if not sample.response.strip())
        raise BadInput(
            f"{first.place}: {empty} of {len(samples)} responses are empty (this is the first), more than "
            "1 %; mend the data, or set on_bad_record to skip."
        )
