"""What a "span" is in practice: the cuts that two real tokenizers share, on responses of Dolly and in 28 "
"languages."""

from collections.abc import Sequence
from functools import cache
from statistics import mean

import numpy as np
from declaration import ARTICLE_1
from dskd.tokenizer_pairs import reader
from findings import Finding
from tokenizers import Tokenizer

from sra.texts import samples
from stillroom.alignment.boundaries import shared_boundaries
from stillroom.alignment.reader import common_form
from stillroom.alignment.vocabulary_map import vocabulary_map

PAIRS = (("qwen1.5", "gpt2"), ("mistral-7b-v0.1", "llama2"), ("llama2", "gpt2"), ("qwen1.5", "llama2"))
"""Teacher and student. The first two are the paper's, and TinyLlama has Llama 2's tokenizer."""
MOST, LONGEST = 1024, 320
"""The public program's largest number of spans, and its longest text."""


def findings() -> list[Finding]:
    texts = [each.response for each in samples()]
    if not texts:
        return []
    return [granularity(texts), common_subsequence(texts), cap(texts), cuts(texts), vocabularies()]


@cache
def tokens(name: str, text: str) -> tuple[list[int], np.ndarray]:
    """Character ends as the tokenizer gives them, and byte ends `[n]`."""
    ends = reader(name).read(text).ends
    assert ends is not None
    return [end for _, end in offsets(name, text)], ends


def offsets(name: str, text: str) -> list[tuple[int, int]]:
    """Of every token the first character and the one behind its last, as the tokenizer gives them."""
    return _tokenizer(name).encode(text, add_special_tokens=False).offsets


@cache
def _tokenizer(name: str) -> Tokenizer:
    tokenizer = Tokenizer.from_str(reader(name).definition)
    tokenizer.encode_special_tokens = True
    return tokenizer


def program_cuts(ours: Sequence[int], theirs: Sequence[int]) -> list[tuple[int, int]]:
    """Tokens of both sides before every cut, merging character ends: what the public program calls the longest common
    subsequence."""
    found, i, j = [], 0, 0
    while i < len(ours) and j < len(theirs):
        if ours[i] == 0:
            i += 1
        elif theirs[j] == 0:
            j += 1
        elif ours[i] == theirs[j]:
            i, j = i + 1, j + 1
            found.append((i, j))
        elif ours[i] < theirs[j]:
            i += 1
        else:
            j += 1
    return found


def exact_cuts(ours: np.ndarray, theirs: np.ndarray) -> list[tuple[int, int]]:
    """The same from byte ends: what this package takes."""
    shared = shared_boundaries(ours[None], theirs[None])
    both = [np.flatnonzero(closes[0]) + 1 for closes in shared]
    return list(zip(both[0].tolist(), both[1].tolist(), strict=True))


def granularity(texts: Sequence[str]) -> Finding:
    rows = []
    for teacher, student in PAIRS:
        sizes = [
            np.diff([(0, 0), *exact_cuts(tokens(student, text)[1], tokens(teacher, text)[1])], axis=0)
            for text in _common(texts, teacher, student)
        ]
        every = np.concatenate(sizes)
        rows.append(
            {
                "teacher, student": f"{teacher}, {student}",
                "spans in a response": mean(map(len, sizes)),
                "student tokens": every[:, 0].mean().item(),
                "teacher tokens": every[:, 1].mean().item(),
                "one token on both sides": (every == 1).all(1).mean().item(),
                "three and more student tokens": (every[:, 0] >= 3).mean().item(),
            }
        )
    first = rows[0]
    return Finding(
        "granularity",
        "The unit of alignment becomes the span, robust and tokenizer-agnostic, instead of the token (abstract)",
        "holds in part",
        f"Spans are the finest pieces that both tokenizers cut: {first['student tokens']:.2f} student tokens for the "
        f"first pair of the paper, {rows[1]['student tokens']:.2f} for its other kind of tokenizer; "
        f"{first['one token on both sides']:.0%} and {rows[1]['one token on both sides']:.0%} of the spans are one "
        "token on both sides. They change with the pair of tokenizers.",
        {"table": rows},
    )


def _common(texts: Sequence[str], *names: str) -> list[str]:
    tables = [reader(name).table for name in names]
    return [common_form(text, tables) for text in texts]


def common_subsequence(texts: Sequence[str]) -> Finding:
    same = total = 0
    for text in texts[:40]:
        ours, theirs = tokens("gpt2", text)[0][:250], tokens("qwen1.5", text)[0][:250]
        same += len(program_cuts(ours, theirs)) == _longest_common(ours, theirs)
        total += 1
    return Finding(
        "common subsequence",
        "Spans come from the longest common subsequence of the two lists of offsets",
        "holds",
        "Offsets never decrease, so one merge of both lists finds it: as long as that of dynamic programming "
        f"in {same} "
        f"of {total} responses, in linear instead of quadratic time. The program does the merge, too.",
        {"same": same, "responses": total},
    )


def _longest_common(ours: Sequence[int], theirs: Sequence[int]) -> int:
    best = np.zeros(len(theirs) + 1, np.int64)
    behind = np.asarray(theirs)
    for end in ours:
        if end:
            best[1:] = np.maximum.accumulate(np.maximum(best[1:], best[:-1] + (behind == end)))
    return int(best[-1])


def cap(texts: Sequence[str]) -> Finding:
    counts = [len(exact_cuts(tokens("gpt2", text)[1], tokens("qwen1.5", text)[1])) for text in texts]
    within = sum(count <= MOST for count in counts) / len(counts)
    return Finding(
        "cap",
        f"At most {MOST} spans of a text are kept (program)",
        "holds",
        f"It never acts: texts end at {LONGEST} tokens there, and {within:.1%} of whole responses have fewer spans.",
        {"within": within, "most": max(counts)},
    )


def cuts(texts: Sequence[str]) -> Finding:
    rows = []
    for name, some in (("Dolly", list(texts)), ("28 languages", list(ARTICLE_1.values()))):
        for teacher, student in PAIRS:
            wrong = missed = made = 0
            for text in _common(some, teacher, student):
                ours, theirs = tokens(student, text), tokens(teacher, text)
                program = set(program_cuts(ours[0], theirs[0]))
                exact = set(exact_cuts(ours[1], theirs[1]))
                wrong, missed, made = (
                    wrong + len(program - exact),
                    missed + len(exact - program),
                    made + len(program),
                )
            rows.append(
                {
                    "text": name,
                    "teacher, student": f"{teacher}, {student}",
                    "cuts": made,
                    "wrong": wrong,
                    "share": wrong / made,
                    "missed": missed,
                }
            )
    foreign = rows[len(PAIRS) :]
    return Finding(
        "character ends",
        "Offsets are compared as characters (program)",
        "holds in part",
        f"Tokens that are parts of one letter claim one end: on Dolly {rows[0]['wrong']} of {rows[0]['cuts']} cuts "
        f"join different bytes ({rows[2]['wrong']} for {rows[2]['teacher, student']}), in 28 languages "
        f"{min(each['share'] for each in foreign):.1%} to {max(each['share'] for each in foreign):.0%}. Here "
        "ends are in bytes.",
        {"table": rows},
    )


def vocabularies() -> Finding:
    rows = []
    for teacher, student in PAIRS:
        ours, theirs = (_tokenizer(name).get_vocab() for name in (student, teacher))
        rows.append(
            {
                "teacher, student": f"{teacher}, {student}",
                "same string": len(ours.keys() & theirs.keys()),
                "same bytes": len(vocabulary_map(reader(student).table, reader(teacher).table)),
                "student's tokens": len(ours),
            }
        )
    return Finding(
        "shared vocabulary",
        "Logits of spans are compared on tokens that both vocabularies have",
        "holds in part",
        f"By their strings, in the program: right for the paper's pairs ({rows[0]['same string']:,} tokens, "
        f"{rows[0]['same bytes']:,} by bytes), and {rows[2]['same string']:,} of {rows[2]['same bytes']:,} where one "
        f"tokenizer is byte-level and the other is not ({rows[2]['teacher, student']}). Here by bytes.",
        {"table": rows},
    )
