"""Which kinds of tokens real pairs of tokenizers do not have in common, on responses of Dolly; no models."""

from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np

from dskd.models import DATA
from dskd.token_classes import classes_of_text
from dskd.token_kinds import kinds_of_bytes, kinds_of_tokens
from stillroom.alignment.boundaries import shared_boundaries
from stillroom.alignment.reader import Reader, common_form
from stillroom.recipe.models import load_tokenizer

PAIRS = (
    ("qwen1.5", "gpt2"),
    ("llama2", "gpt2"),
    ("mistral-7b-v0.1", "llama2"),
    ("qwen1.5", "llama2"),
)
"""Teacher and student."""


@cache
def reader(name: str) -> Reader:
    tokenizer = load_tokenizer(str(DATA / "tokenizers" / name), name)
    return Reader(tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]


def classes_and_kinds(
    texts: Sequence[str], counts: Counter[str], teacher: Reader, student: Reader
) -> tuple[np.ndarray, np.ndarray]:
    """Of all tokens of the student, `[n]` each; texts whose ends are not known are left out."""
    classes, kinds = [], []
    for text in texts:
        same = common_form(text, (student.table, teacher.table))
        ours, theirs = student.read(same).ends, teacher.read(same).ends
        if ours is not None and theirs is not None and len(ours):
            classes.append(classes_of_text(shared_boundaries(ours[None], theirs[None])))
            kinds.append(kinds_of_tokens(kinds_of_bytes(same.encode(), counts), ours))
    return np.concatenate(classes), np.concatenate(kinds)
