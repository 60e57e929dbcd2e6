"""Words and phrases of responses of Dolly, and how they fall on the tokens of two real tokenizers."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from statistics import mean, median

import numpy as np
from declaration import ARTICLE_1
from findings import Finding
from sra.claims.spans import offsets, tokens
from sra.texts import Sample, samples

from stillroom.alignment.byte_ends import byte_positions
from stillroom.alignment.spans import units_of
from stillroom.data.spans.segmentation import Segmenter, Spans
from stillroom.data.spans.textblob import TextBlob
from stillroom.data.spans.windows import Windows

TOKENIZERS = ("gpt2", "llama2")


def findings() -> list[Finding]:
    if not samples():
        return []
    return [granularity(), coverage(), leading_space(), words_in_phrases(), cost(), languages()]


@cache
def segmented(segmenter: type[Segmenter]) -> list[Spans]:
    return segmenter().segment([each.response for each in samples()])


def granularity() -> Finding:
    rows = []
    for segmenter in (TextBlob, Windows):
        found = segmented(segmenter)
        for tokenizer in TOKENIZERS:
            words, phrases = (
                np.concatenate(
                    [_sizes(tokenizer, each.response, getattr(spans, name)) for each, spans in _both(found)]
                )
                for name in ("words", "phrases")
            )
            rows.append(
                {
                    "segmenter": segmenter.__name__,
                    "tokenizer": tokenizer,
                    "words in a response": mean(len(each.words) for each in found),
                    "phrases": mean(len(each.phrases) for each in found),
                    "words in a phrase": np.concatenate(list(map(_words_in, found))).mean().item(),
                    "tokens in a word": words.mean().item(),
                    "tokens in a phrase": phrases.mean().item(),
                    "phrases of one token": (phrases == 1).mean().item(),
                    "units without a token": int((words == 0).sum() + (phrases == 0).sum()),
                }
            )
    labels = Counter(label for each in segmented(TextBlob) for label in each.labels)
    first = rows[0]
    shares = ", ".join(
        f"{label or 'none'} {count / labels.total():.0%}" for label, count in labels.most_common()
    )
    return Finding(
        "granularity",
        "Words in low layers preserve lexical information, phrases in high ones capture composition (abstract)",
        "holds in part",
        f"English phrases by TextBlob ({shares}): {first['words in a phrase']:.2f} words and "
        f"{first['tokens in a phrase']:.2f} GPT-2 tokens, where a word has {first['tokens in a word']:.2f} tokens. "
        f"{first['phrases of one token']:.0%} of the phrases are one token, so for them the two levels are the same.",
        {"table": rows},
    )


def _both(found: Sequence[Spans]) -> Iterator[tuple[Sample, Spans]]:
    return zip(samples(), found, strict=True)


def _sizes(tokenizer: str, text: str, spans: np.ndarray) -> np.ndarray:
    """Tokens of every span, `[K]`."""
    units = units_of(tokens(tokenizer, text)[1], spans)
    return np.bincount(units[units >= 0], minlength=len(spans))


def _words_in(spans: Spans) -> np.ndarray:
    """Words of every phrase, `[m]`."""
    units = units_of(spans.words[:, 1], spans.phrases)
    return np.bincount(units[units >= 0], minlength=len(spans.phrases))


def coverage() -> Finding:
    found = segmented(TextBlob)
    covered = np.concatenate(
        [units_of(tokens("gpt2", each.response)[1], spans.phrases) >= 0 for each, spans in _both(found)]
    )
    words = np.concatenate(
        [units_of(tokens("gpt2", each.response)[1], spans.words) >= 0 for each, spans in _both(found)]
    )
    few = mean(len(spans.phrases) < 2 for spans in found)
    return Finding(
        "coverage",
        "Hidden states are aligned on tokens that spans cover, relations between spans (Eqs 10 to 13)",
        "holds",
        f"Phrases cover {covered.mean():.0%} of the tokens, words {words.mean():.0%}; {few:.1%} of the "
        "responses have "
        "fewer than two phrases and no relation to compare. In the program such a sample adds nothing; a batch "
        "without "
        "any phrase ends in an error.",
        {
            "tokens in phrases": covered.mean().item(),
            "tokens in words": words.mean().item(),
            "fewer than two": few,
        },
    )


def leading_space() -> Finding:
    rows = []
    for tokenizer in TOKENIZERS:
        assigned = before = 0
        for each, spans in _both(segmented(TextBlob)):
            places = np.array(offsets(tokenizer, each.response)).reshape(-1, 2)
            letters = np.searchsorted(byte_positions(each.response), spans.phrases)
            inside = (places[:, :1] + 1 >= letters[:, 0]) & (places[:, 1:] <= letters[:, 1])
            assigned += int(inside.sum())
            before += int((inside & (places[:, 1:] <= letters[:, 0])).sum())
        rows.append(
            {
                "tokenizer": tokenizer,
                "assigned": assigned,
                "before the phrase": before,
                "share": before / assigned,
            }
        )
    return Finding(
        "leading space",
        "Tokens of a span are found by their offsets, with one letter of tolerance for the space before it (program)",
        "holds in part",
        f"The tolerance also takes tokens of one letter that lie wholly before the phrase: {rows[0]['share']:.2%} of "
        f"the assigned tokens with GPT-2's offsets, {rows[1]['share']:.2%} with Llama 2's. Here a token "
        "belongs to the "
        "span that holds its last byte.",
        {"table": rows},
    )


def words_in_phrases() -> Finding:
    found = segmented(TextBlob)
    inside = np.concatenate([units_of(each.words[:, 1], each.phrases) >= 0 for each in found])
    return Finding(
        "words",
        "Lower layers are aligned at the word level",
        "holds in part",
        "In the program words are those inside of phrases alone, each with the space behind it: with "
        "TextBlob's phrases "
        f"{inside.mean():.0%} of the words. Here all words, or those (`words: in_phrases`).",
        {"inside": inside.mean().item()},
    )


def cost() -> Finding:
    texts = [each.response for each in samples()]
    seconds = {}
    for segmenter in (TextBlob, Windows):
        cut = segmenter()
        cut.segment(texts[:1])
        start = time.process_time()
        cut.segment(texts)
        seconds[segmenter.__name__] = (time.process_time() - start) / len(texts)
    each = seconds["TextBlob"]
    return Finding(
        "segmentation",
        "Spans are found inside of the training step, by spaCy (program)",
        "holds in part",
        f"They depend on the text alone. TextBlob takes {1e3 * each:.1f} ms a response on one thread, once: "
        "the 11,435 "
        f"responses of Dolly in {11435 * each:.0f} s, kept for later runs. The program finds them anew in each "
        "of five epochs, "
        "from the decoded text with its prompt.",
        {"table": [{"segmenter": name, "ms a response": 1e3 * value} for name, value in seconds.items()]},
    )


def languages() -> Finding:
    texts = list(ARTICLE_1.values())
    known = [
        language for language, spans in zip(ARTICLE_1, TextBlob().segment(texts), strict=True) if spans.known
    ]
    counts = [len(spans.phrases) for spans in Windows().segment(texts)]
    return Finding(
        "languages",
        "Noun and verb phrases are the units of higher layers (abstract)",
        "holds in part",
        f"As far as somebody can find them: of one article in {len(texts)} languages TextBlob knows {len(known)} "
        f"({', '.join(known)}), and says so of the others, which are cut into runs of up to three words instead, "
        f"{min(counts)} to {max(counts)} of them ({median(counts):.0f} in the middle).",
        {
            "known": known,
            "table": [{"language": name, "runs": n} for name, n in zip(ARTICLE_1, counts, strict=True)],
        },
    )
