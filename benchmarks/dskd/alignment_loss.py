"""What is lost where two tokenizers do not agree, in nats and by kind of text, and what comparing by bytes keeps of it.

    STILLROOM_DATA=... python benchmarks/dskd/alignment_loss.py --teacher runs/second-teacher

A byte-level student and the teacher of `dolly/second_teacher.yaml`, neither trained with the other, on the first
held-out responses of Dolly; then pairs of real tokenizers on 1,500 responses. One CPU thread, two minutes. Writes
results/dskd_alignment_loss.json and .md.
"""

import argparse
import json
import shlex
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from findings import Finding, Found, write

from dskd import common_events, tokenizer_pairs
from dskd.models import DOLLY
from dskd.token_classes import CLASSES, CONTEXT, EXACT, NEITHER
from dskd.token_kinds import BEYOND_ASCII, COMMON, NAME, NUMBER, RARE, SIGN, SPACE, count_words
from dskd.two_models import Answer, TwoModels, add_models, open_models, recipe_of
from dskd.unaligned import ALONE, SEVERAL, Chunks, Tokens, by_chunk, by_class, by_kind, read_all
from stillroom.objectives._two_vocabularies import SharedTokens


def responses(path: Path) -> list[str]:
    rows = [json.loads(line)["output"] for line in path.read_text(encoding="utf-8").splitlines()]
    return [each if isinstance(each, str) else each[0] for each in rows]


def lost(ours: Tokens, theirs: Tokens) -> Finding:
    rows = by_class(ours, "student") + by_class(theirs, "teacher")
    exact, context, neither = rows[:3]
    return Finding(
        "tokens",
        "More than 90 % of tokens align, and the others can be left out (III-B)",
        "holds in part",
        f"Of the student's {len(ours.nats):,} tokens {exact['of the tokens']:.1%} are one token on both sides, "
        f"{context['of the tokens']:.1%} only begin where one of the teacher's begins, {neither['of the tokens']:.1%} "
        f"do neither. The others are not easy ones: {context['nats a token']:.2f} nats where only the bytes before are "
        f"the same, {neither['nats a token']:.2f} inside a word, {exact['nats a token']:.2f} on exact ones; by byte "
        f"{context['nats a byte']:.2f}, {neither['nats a byte']:.2f} and {exact['nats a byte']:.2f}.",
        {"table": rows},
    )


def lead(chunks: Chunks) -> Finding:
    rows = by_chunk(chunks)
    by_name = {row[""]: row for row in rows}
    alone, several = by_name[ALONE], by_name[SEVERAL]
    return Finding(
        "lead of the teacher",
        "What is not aligned can be left out (III-B)",
        "holds in part",
        f"Of the finest pieces of text that both tokenizers cut out, those with several tokens on a side hold "
        f"{several['of the bytes']:.1%} of the bytes and {several['of the lead']:.1%} of all that the teacher knows "
        "better (nats of the student minus its own). Exact alignment has nothing to say about that. There student and "
        f"teacher have {several['student, nats a byte']:.2f} and {several['teacher, nats a byte']:.2f} nats a byte, "
        f"elsewhere {alone['student, nats a byte']:.2f} and {alone['teacher, nats a byte']:.2f}.",
        {"table": rows},
    )


def kinds(name: str, classes: np.ndarray, which: np.ndarray) -> Finding:
    rows = by_kind(classes, which)
    by_name = {row[""]: row for row in rows}
    shares = np.bincount(classes, minlength=len(CLASSES)) / len(classes)
    filled = {
        kind: by_name[kind]["of all that is not exact"]
        for kind in (COMMON, RARE, NAME, NUMBER, SIGN, SPACE, BEYOND_ASCII)
        if kind in by_name
    }
    most = sorted(filled.items(), key=lambda each: -each[1])
    apart = [(kind, by_name[kind][EXACT]) for kind in filled if by_name[kind][EXACT] < 0.6]
    known = ", ".join(
        f"{kind} ({share:.0%} exact)" for kind, share in sorted(apart, key=lambda each: each[1])
    )
    return Finding(
        name,
        "What is lost in the unaligned tenth? (open question 2)",
        "holds in part",
        f"{shares[0]:.3f} of the student's {len(classes):,} tokens are exact, {shares[1]:.3f} have the same bytes "
        f"before only, {shares[2]:.3f} neither. Not exact are mostly "
        + ", ".join(f"{kind} ({share:.0%})" for kind, share in most[:4] if share > 0.01)
        + (f". Least exact: {known}." if known else "."),
        {"table": rows},
    )


def outcomes(models: TwoModels, answers: list[Answer], shared: SharedTokens) -> list[Finding]:
    compared, made_of = common_events.measure(models, answers, shared)
    prefix, bucket, renormalized = compared
    apart = [each["KL(teacher, student)"] for each in (bucket, renormalized, prefix)]
    meet = [each["one outcome for both"] for each in (bucket, renormalized, prefix)]
    told = [(each["told, teacher"], each["told, student"]) for each in (bucket, prefix)]
    longer = made_of[1]["events"] + made_of[2]["events"] + made_of[3]["events"]
    truth, belief = (made_of[1][key] + made_of[3][key] for key in ("student's next token", "teacher says"))
    return [
        Finding(
            "outcomes",
            "Tokens that one vocabulary lacks are left out, or one outcome (usual baselines)",
            "false",
            f"At positions with the same bytes before them KL(teacher, student) is {apart[0]:.2f} nats with one "
            f"outcome for all tokens of one side only, {apart[1]:.2f} without them, {apart[2]:.2f} where each counts "
            f"to what it begins with. One outcome: the teacher gives it {bucket['last outcome, teacher']:.1%}, the "
            f"student "
            f"{bucket['last outcome, student']:.1%}, and the student's text needs it at "
            f"{bucket['last outcome, told']:.1%} of positions, so a student that follows unlearns its long tokens. The "
            f"student's next token has {told[0][0]:.2f} nats by the teacher ({told[0][1]:.2f} by the student); counted "
            f"to what it begins with, {told[1][0]:.2f} ({told[1][1]:.2f}). Both texts go on with one and the same "
            f"outcome at {meet[0]:.1%}, {meet[1]:.1%} and {meet[2]:.1%} of positions.",
            {"table": compared},
        ),
        Finding(
            "outcomes by what they are made of",
            "A teacher over merged outcomes can teach the student's longer tokens (ours)",
            "holds in part",
            f"{longer:,} of {sum(row['events'] for row in made_of) - 1:,} outcomes hold longer tokens of one side. "
            f"Those with longer tokens of the student come at {truth:.1%} of positions, and the teacher gives them "
            f"{belief:.1%}. Which of the tokens inside an outcome it is, only the text says.",
            {"table": made_of},
        ),
    ]


def real_pairs(texts: list[str], counts: Counter[str]) -> list[Finding]:
    found = []
    for teacher, student in tokenizer_pairs.PAIRS:
        if (tokenizer_pairs.DATA / "tokenizers" / teacher).exists():
            readers = tokenizer_pairs.reader(teacher), tokenizer_pairs.reader(student)
            found.append(
                kinds(f"{teacher} to {student}", *tokenizer_pairs.classes_and_kinds(texts, counts, *readers))
            )
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_models(parser, samples=200)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    texts = responses(DOLLY / "minillm_dev.jsonl") + responses(DOLLY / "minillm_test500.jsonl")
    counts = count_words(texts)
    models = open_models(recipe_of(options, ["vocabulary.shared_kl"]))
    answers = list(models.answers())
    shared: SharedTokens = models.built.pair.parts[0].shared  # type: ignore[assignment]
    ours, theirs = read_all(answers, shared, responses(options.text), counts)
    found: Found = {
        "Two models": [
            lost(ours, theirs),
            lead(Chunks.of(ours, theirs)),
            kinds("kinds, two models", ours.classes, ours.kinds),
        ],
        "Outcomes that both vocabularies have": outcomes(models, answers, shared),
        "Real tokenizers": real_pairs(texts, counts),
    }
    write(
        found,
        options.output / "dskd_alignment_loss",
        title="What is lost where two tokenizers do not agree",
        command=shlex.join(["python", *sys.argv]),
        about=f"A byte-level student of 3.2 M parameters, a SentencePiece-style teacher of 11.7 M, {options.samples} "
        f"held-out samples of Dolly; {NEITHER}, {CONTEXT} and {EXACT} are as DSKD's positions (`exact`, `context`) "
        "have them. Kinds are those of the word that a token is a part of; a rare word stands at most 3 times in 1,500 "
        "responses, a name begins with a capital inside a sentence. One CPU thread.",
    )


if __name__ == "__main__":
    main()
