"""Exact token alignment as DSKD v2 published it (arXiv 2504.11426, `align_sequences` of its code), for comparison only.

Tokens are compared as strings without `▁` and `Ġ`. Byte-level and SentencePiece vocabularies spell a newline and any
letter beyond ASCII differently, so from the first of those on, nothing aligns any more. Everything else here goes by
bytes.
"""

from collections.abc import Sequence

SPACES = str.maketrans("", "", "▁Ġ")


def published_pairs(student: Sequence[str], teacher: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of token indices (student, teacher) from the tokens of both sides, end tokens left out.

    The published loop compares ever longer strings; only what lies behind their last common end can differ, so that is
    all that is kept here.
    """
    ours = [token.translate(SPACES) for token in student]
    theirs = [token.translate(SPACES) for token in teacher]
    pairs: list[tuple[int, int]] = []
    left, right = "", ""
    i = j = 0
    while i < len(ours) and j < len(theirs):
        if left == right:
            if ours[i] == theirs[j]:
                pairs.append((i, j))
            left, right = ours[i], theirs[j]
            i, j = i + 1, j + 1
        elif len(left) == len(right):
            break  # two strings that differ never become equal by growing
        elif len(left) < len(right):
            left, i = left + ours[i], i + 1
        else:
            right, j = right + theirs[j], j + 1
    return pairs
