"""Rouge-L by the longest common subsequence of words, in a plain recursion over a table; no stemming."""

import re
from collections.abc import Sequence


def lcs(first: Sequence[str], second: Sequence[str]) -> int:
    longest = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, left in enumerate(first):
        for j, right in enumerate(second):
            if left == right:
                longest[i + 1][j + 1] = longest[i][j] + 1
            else:
                longest[i + 1][j + 1] = max(longest[i][j + 1], longest[i + 1][j])
    return longest[-1][-1]


def rouge_l(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    def score(prediction: str, reference: str) -> float:
        ours, theirs = (re.findall(r"[a-z0-9]+", text.lower()) for text in (prediction, reference))
        common = lcs(ours, theirs)
        return 2 * common / (len(ours) + len(theirs)) if common else 0.0

    best = [
        max(score(text, each) for each in known) for text, known in zip(predictions, references, strict=True)
    ]
    return 100 * sum(best) / len(best)
