"""What the tests of spans share: texts that are hard to cut, the promise of every segmenter, and spans as text."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stillroom.data.spans.segmentation import Segmenter, Spans

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[4] / "shared" / "data"))
HARD = (
    "",
    "  \n\t ",
    "a\r\nb\r\n\r\nc",
    "nul\0 inside\0",
    "don\u2019t \u201cquote\u201d\u2026 wait\u2014stop",
    "\U0001f44d\U0001f3fd fine \U0001f600\U0001f600",
    "cafe\u0301 na\u00efve \u00c5ngstr\u00f6m",
    "\u6211\u559c\u6b22\u5496\u5561\uff0c\u7136\u540e\u53bb\u6563\u6b65\u3002",
    "see https://a.b/c?d=e, or mail me@x.org (and/or 10/12/2020).",
    "def f(x):\n\treturn x[0] / 2  # half &slash; &amp;",
    "...",
    "very " * 300,
    "\u2028line\u2029separators\x85",
)


def disjoint(spans: np.ndarray, size: int) -> bool:
    """Whether `spans [n, 2]` are increasing, disjoint, not empty and inside `size` bytes."""
    flat = spans.reshape(-1)
    return bool(
        spans.dtype == np.int64
        and spans.shape[1:] == (2,)
        and (spans[:, 0] < spans[:, 1]).all()
        and (np.diff(flat) >= 0).all()
        and (flat <= size).all()
    )


@pytest.fixture
def keeps_the_promise() -> Callable[[Segmenter, str], Spans]:
    """Checks what holds for every segmenter and text, and returns the spans."""

    def check(segmenter: Segmenter, text: str) -> Spans:
        spans = segmenter.segment([text])[0]
        raw = text.encode()
        assert disjoint(spans.words, len(raw))
        assert disjoint(spans.phrases, len(raw))
        assert len(spans.labels) == len(spans.phrases)
        for start, end in [*spans.words, *spans.phrases]:
            piece = raw[start:end].decode()
            assert any(sign.isalnum() for sign in piece)
            assert not piece[0].isspace()
            assert not piece[-1].isspace()
        return spans

    return check


@pytest.fixture
def pieces() -> Callable[[str, np.ndarray], list[str]]:
    """The text of every span."""

    def cut(text: str, spans: np.ndarray) -> list[str]:
        raw = text.encode()
        return [raw[start:end].decode() for start, end in spans]

    return cut


@pytest.fixture
def dolly() -> list[str]:
    """Responses of a hundred real instructions."""
    path = DATA / "dolly" / "minillm_test500.jsonl"
    if not path.exists():
        pytest.skip("needs the real data (STILLROOM_DATA)")
    from stillroom.data.columns import to_samples
    from stillroom.data.sources import read_records

    return [sample.response for sample in to_samples(read_records(path))[:100]]
