"""Spans that a data set brings with its responses, instead of a segmenter.

    {"response": "The cat sat.", "spans": {"words": [[0, 3], [4, 7], [8, 11]], "phrases": [[0, 7, "NP"], [8, 11]]}}

Places count bytes of the response's UTF-8 or letters of it. Words or phrases that are left out are none.
"""

import unicodedata
from typing import Any, Literal

import numpy as np

from stillroom.alignment.byte_ends import byte_positions
from stillroom.core.errors import BadInput
from stillroom.data.columns import Sample
from stillroom.data.spans.segmentation import Spans, no_spans

Offsets = Literal["bytes", "letters"]


def given_spans(sample: Sample, text: str, offsets: Offsets = "bytes") -> Spans:
    """The sample's own spans as those of `text`: its response, or a text that holds its response once. White space
    around it and the form of its letters (NFC) may have changed. Other texts have none, nor do samples whose column is
    null.

    `BadInput` names the sample and what is wrong: spans must be whole numbers, inside the response, not empty, between
    letters, increasing and disjoint.
    """
    if sample.spans is None:
        return no_spans()
    spans = _read(sample, offsets)
    response, composed = sample.response, unicodedata.normalize("NFC", sample.response)
    if composed != response and response.strip() not in text:
        spans, response = _composed(spans, response), composed
    said = response.strip()
    at = text.find(said)
    if at < 0 or not said or text.find(said, at + 1) >= 0:
        return no_spans()
    shift = len(text[:at].encode()) - len(response[: response.index(said)].encode())
    return Spans(spans.words + shift, spans.phrases + shift, spans.labels)


def _composed(spans: Spans, response: str) -> Spans:
    """Where spans of `response` lie once its letters are composed."""
    raw = response.encode()
    words, phrases = (
        np.array(
            [len(unicodedata.normalize("NFC", raw[:place].decode()).encode()) for place in each.flat],
            np.int64,
        )
        for each in (spans.words, spans.phrases)
    )
    return Spans(words.reshape(-1, 2), phrases.reshape(-1, 2), spans.labels)


def _read(sample: Sample, offsets: Offsets) -> Spans:
    value = sample.spans
    if not isinstance(value, dict) or value.keys() - {"words", "phrases"}:
        raise BadInput(
            f'{sample.place}: spans must be an object {{"words": [[start, end], ...], "phrases": [...]}}, got '
            + (f"the keys {', '.join(map(repr, value))}." if isinstance(value, dict) else f"{value!r:.80}.")
        )
    positions = byte_positions(sample.response)
    words, phrases = (_numbers(sample, name) for name in ("words", "phrases"))
    labels = [str(item[2]) if len(item) > 2 else "" for item in value.get("phrases") or ()]
    found = [
        _in_bytes(spans, positions, offsets, f"{sample.place}: {name} of the spans")
        for name, spans in (("words", words), ("phrases", phrases))
    ]
    return Spans(found[0], found[1], tuple(labels))


def _numbers(sample: Sample, name: str) -> np.ndarray:
    """What stands in the column, `[n, 2]`."""
    items = sample.spans.get(name)
    most = 3 if name == "phrases" else 2
    items = [] if items is None else items
    if not isinstance(items, list):
        raise BadInput(f"{sample.place}: {name} of the spans must be a list, got {items!r:.80}.")
    for number, item in enumerate(items):
        if not _is_span(item, most):
            label = " or [start, end, label]" if most > 2 else ""
            raise BadInput(
                f"{sample.place}: {name}[{number}] of the spans must be [start, end]{label} in whole numbers, "
                f"got {item!r:.80}."
            )
    return np.array([item[:2] for item in items], np.int64).reshape(-1, 2)


def _is_span(item: Any, most: int) -> bool:
    return (
        isinstance(item, list)
        and 2 <= len(item) <= most
        and all(type(place) is int and 0 <= place < 2**62 for place in item[:2])
        and all(isinstance(label, str) for label in item[2:])
    )


def _in_bytes(spans: np.ndarray, positions: np.ndarray, offsets: Offsets, where: str) -> np.ndarray:
    """`positions [letters + 1]` are the bytes at which letters begin."""
    size = int(positions[-1]) if offsets == "bytes" else len(positions) - 1
    outside = np.flatnonzero((spans[:, 0] >= spans[:, 1]) | (spans[:, 1] > size))
    if len(outside):
        raise BadInput(
            f"{where} hold {spans[outside[0]].tolist()}, which is no span of a response of {size} {offsets}; "
            "check data.spans.offsets."
        )
    follow = np.flatnonzero(spans[1:, 0] < spans[:-1, 1])
    if len(follow):
        pair = " and ".join(str(spans[number].tolist()) for number in (follow[0], follow[0] + 1))
        raise BadInput(f"{where} hold {pair}, which overlap or are out of order; sort them and keep one.")
    if offsets == "letters":
        return positions[spans]
    inside = np.flatnonzero(~np.isin(spans, positions).all(axis=1))
    if len(inside):
        raise BadInput(
            f"{where} hold {spans[inside[0]].tolist()}, which cuts a letter of several bytes; "
            "if letters were counted, set data.spans.offsets: letters."
        )
    return spans
