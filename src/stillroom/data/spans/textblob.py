"""English phrases by TextBlob: a lexicon, tags by rule, and chunks over the tags.

    pip install 'stillroom[spans]'         textblob >= 0.20; nothing is ever downloaded

    NP, VP, ADJP, ADVP; PP is the preposition alone, as in CoNLL-2000

Deviation: texts are cut into tokens here, so that every token knows where it lies. TextBlob's own tokenizer keeps no
places, tears contractions apart ("it ' s", "do n ' t": noun phrases n and t), and lets phrases run on into the next
line. Words are those of `Windows`, whole: "don't" is one. Phrases are made of whole words: one that begins or ends
inside a word has all of it, but what two share ("they've gone") is the first one's alone.

A text of which less than half of the words stand in the lexicon is taken for another language and cut by `Windows`.
Foreign words and names of the lexicon (le, und, van) do not count, nor do words with a capital letter, which may be
names. Of the words of English prose all are found; of French, German or Italian prose one in five.
"""

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import regex

from stillroom.core.errors import BadInput
from stillroom.data.spans.segmentation import Segmenter, Spans, spans_of_letters
from stillroom.data.spans.windows import SIGN, Windows, words_of

REVISION = 1
"""Of the tokens below."""
LONGEST = 100
"""Tokens of a sentence: the chunker is quadratic in them."""
TOKEN = regex.compile(
    r"""
    (?: https?:// | www\. ) \S* [\w/]                             # addresses
  | (?: \p{L}\. ){2,}                                             # U.S.A., e.g.
  | (?: Mr | Mrs | Ms | Dr | Prof | St ) \. (?=\s)
  | (?<=\p{L}) (?: n['\u2019]t | ['\u2019] CLITIC ) \b
  | \w+? (?= n['\u2019]t\b )
  | \w+ (?: (?: [-\u2010\u2011&@] | ['\u2019] (?! CLITIC \b ) | \. (?!\p{Lu}) | (?<=\d) [,:/] (?=\d) ) \w+ )*
  | [^\w\s]
    """.replace("CLITIC", "(?: s | re | ve | ll | d | m )"),
    regex.VERBOSE,
)
EVIDENCE = regex.compile(r"(?!(?=\p{Latin})\p{Lu})\p{L}[\p{L}\p{M}]*")
"""Words that tell a language: letters and their marks, without a capital at the start where the script is Latin."""
FOREIGN = ("FW", "NNP")
"""Tags of words that are no evidence of English."""
LINE = regex.compile(r"[^\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
Token = tuple[int, int]


class TextBlob(Segmenter):
    """Cuts English; other languages are left to `Windows`. `BadInput` where textblob is not installed."""

    def __init__(self) -> None:
        try:
            from textblob import en
        except ImportError as error:
            raise BadInput(
                "spans of English text need TextBlob: pip install 'stillroom[spans]', or set data.spans.use: windows."
            ) from error
        with warnings.catch_warnings():  # its files are read on first use, and not closed
            warnings.simplefilter("ignore", ResourceWarning)
            en.lexicon.get("the")
        self._english = en
        self._windows = Windows()
        self.identity = f"textblob {version('textblob')} ({REVISION})"

    def cut(self, texts: Sequence[str]) -> list[Spans]:
        return [self._cut(text) for text in texts]

    def _cut(self, text: str) -> Spans:
        sentences = list(_sentences(text))
        if not self._knows([text[start:end] for sentence in sentences for start, end in sentence]):
            found = self._windows.cut([text])[0]
            return Spans(found.words, found.phrases, found.labels, known=False)
        phrases: list[tuple[int, int]] = []
        labels: list[str] = []
        for sentence in sentences:
            for first, last, label in self._chunks([text[start:end] for start, end in sentence]):
                phrases.append((sentence[first][0], sentence[last][1]))
                labels.append(label)
        words = words_of(text)
        whole = list(_of_whole_words(phrases, words))
        return spans_of_letters(
            text, words, [place for place, _ in whole], [labels[number] for _, number in whole]
        )

    def _knows(self, tokens: Sequence[str]) -> bool:
        """Whether at least half of the words are English words of the lexicon; a text without evidence is known."""
        lexicon = self._english.lexicon
        tags = [lexicon.get(word) or lexicon.get(word.lower()) for word in tokens if EVIDENCE.fullmatch(word)]
        return 2 * sum(tag is not None and not tag.startswith(FOREIGN) for tag in tags) >= len(tags)

    def _chunks(self, tokens: Sequence[str]) -> Iterator[tuple[int, int, str]]:
        """Number of the first and of the last token of every phrase, and its label."""
        forms = [self._form(token) for token in tokens]
        tagged = self._english.parser.parse([forms], tokenize=False, chunks=True, collapse=False)
        first, label = 0, "O"
        for number, (*_, chunk, _) in enumerate([*tagged[0], ["", "", "O", "O"]]):
            if chunk.startswith("I-") and chunk[2:] == label:
                continue
            if label != "O" and any(SIGN.search(token) for token in tokens[first:number]):
                yield first, number - 1, label
            first, label = number, chunk.removeprefix("B-").removeprefix("I-")

    def _form(self, token: str) -> str:
        """As the lexicon spells it. Signs that it does not have would be taken for nouns; a colon parts phrases."""
        form = token.replace("\u2019", "'")
        return form if form in self._english.lexicon or SIGN.search(form) else ":"


def _of_whole_words(
    phrases: Sequence[tuple[int, int]], words: Sequence[tuple[int, int]]
) -> Iterator[tuple[tuple[int, int], int]]:
    """Phrases that begin and end with words, each with its number; those without a word of their own are gone."""
    starts, ends = [start for start, _ in words], [end for _, end in words]
    done = 0
    for number, (start, end) in enumerate(phrases):
        first, last = bisect_right(ends, start), bisect_left(ends, end)
        if first < len(words):
            start = min(start, starts[first])
        if start < done:  # the phrase before has the word that this one begins with
            following = bisect_left(starts, done)
            start = starts[following] if following < len(words) else end
        if last < len(words) and starts[last] < end:
            end = ends[last]
        if start < end:
            yield (start, end), number
            done = end


def _sentences(text: str) -> Iterator[list[Token]]:
    """Tokens in letters, sentence by sentence. Lines end sentences: lists and headings have no full stops.

    What comes before the first word of a sentence (a bullet, a quote) is one of its own: the tagger forgives a capital
    letter only to the first token.
    """
    for line in LINE.finditer(text):
        sentence: list[Token] = []
        for match in TOKEN.finditer(text, *line.span()):
            sentence.append(match.span())
            is_sign = not SIGN.search(match[0])
            if match[0] in {".", "!", "?"} or len(sentence) == LONGEST or (is_sign and len(sentence) == 1):
                yield sentence
                sentence = []
        if sentence:
            yield sentence
