"""Phrases by a pipeline of spaCy: noun chunks of its parser, verb groups and prepositions by its parts of speech.

    NP  doc.noun_chunks        VP  AUX* ADV* VERB+ ADV*        PP  ADP+

As the public code of MTA has it (arXiv 2605.01374), which knows no PP. Of phrases that overlap the longest is kept, of
equal ones the first (`spacy.util.filter_spans`). Words are the pipeline's tokens that hold a letter or a digit.
Entities, lemmas and categories are not computed.

A pipeline tags any text as if it were of its language, so a text is taken for another one, and cut by `Windows`, where
most of its words are tagged X, or where it has many words and hardly any stop word of its language. Short texts are
believed; so is everything where the language has no list of stop words.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.data.spans.segmentation import Segmenter, Spans, spans_of_letters
from stillroom.data.spans.windows import SIGN, Windows

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Span

REVISION = 1
"""Of the rules below."""
UNUSED = ["ner", "entity_linker", "lemmatizer", "textcat", "textcat_multilabel"]
VERB_GROUP = [
    {"POS": "AUX", "OP": "*"},
    {"POS": "ADV", "OP": "*"},
    {"POS": "VERB", "OP": "+"},
    {"POS": "ADV", "OP": "*"},
]
PREPOSITION = [{"POS": "ADP", "OP": "+"}]
MANY = 20
"""Words without a capital letter from which on a text shows its language by its stop words."""
HARDLY = 0.2
"""Share of stop words below which a text is of another language; half of English prose are."""


class Spacy(Segmenter):
    """Cuts with the pipeline called `pipeline`: the name of an installed one, or the folder of a saved one.

    `BadInput` where spaCy or the pipeline is not there, or where it has no parser, tagger or noun chunks.
    """

    def __init__(self, pipeline: str) -> None:
        self._pipeline = _load(pipeline)
        self._windows = Windows()
        self._stop_words = self._pipeline.Defaults.stop_words
        from spacy.matcher import Matcher

        self._matcher = Matcher(self._pipeline.vocab)
        self._matcher.add("VP", [VERB_GROUP], greedy="LONGEST")
        self._matcher.add("PP", [PREPOSITION], greedy="LONGEST")
        self.identity = _identity(self._pipeline)

    def cut(self, texts: Sequence[str]) -> list[Spans]:
        short = [text for text in texts if len(text) <= self._pipeline.max_length]
        docs = self._pipeline.pipe(short)
        return [
            self._spans(next(docs)) if len(text) <= self._pipeline.max_length else self._unknown(text)
            for text in texts
        ]

    def _spans(self, doc: "Doc") -> Spans:
        from spacy.util import filter_spans

        if not self._knows(doc):
            return self._unknown(doc.text)
        found = [*doc.noun_chunks, *self._matcher(doc, as_spans=True)]
        phrases = filter_spans([span for span in found if SIGN.search(span.text)])
        return spans_of_letters(
            doc.text,
            [(token.idx, token.idx + len(token)) for token in doc if SIGN.search(token.text)],
            [_trimmed(span) for span in phrases],
            [span.label_ for span in phrases],
        )

    def _knows(self, doc: "Doc") -> bool:
        words = [token for token in doc if token.is_alpha]
        telling = [token.lower_ for token in words if not token.is_title and not token.is_upper]
        is_other = 2 * sum(token.pos_ == "X" for token in words) > len(words)
        strange = sum(word in self._stop_words for word in telling) < HARDLY * len(telling)
        return not is_other and not (self._stop_words and len(telling) >= MANY and strange)

    def _unknown(self, text: str) -> Spans:
        found = self._windows.cut([text])[0]
        return Spans(found.words, found.phrases, found.labels, known=False)


def _trimmed(span: "Span") -> tuple[int, int]:
    """Letters of a span without the white space around it: spaCy has tokens of that, too."""
    start = span.end_char - len(span.text.lstrip())
    return start, start + len(span.text.strip())


def _load(pipeline: str) -> "Language":
    try:
        import spacy
    except ImportError as error:
        raise BadInput(
            "data.spans.use: spacy needs spaCy: pip install 'stillroom[spacy]', or set data.spans.use: windows."
        ) from error
    try:
        loaded = spacy.load(pipeline, exclude=UNUSED)
    except (OSError, ValueError) as error:  # absent, no pipeline, or of another version
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"data.spans.pipeline: {pipeline!r} cannot be loaded ({reason}); "
            "install it, or give the folder of a saved pipeline."
        ) from error
    probe = loaded("This is a sentence.")
    wanted = (("dependencies", "DEP"), ("parts of speech", "POS"))
    missing = [name for name, key in wanted if not probe.has_annotation(key)]
    if missing:
        raise BadInput(
            f"data.spans.pipeline: {pipeline!r} finds no {' and no '.join(missing)} (its components: "
            f"{', '.join(loaded.pipe_names) or 'none'}); choose one with a parser, and a tagger or a morphologizer."
        )
    try:
        list(probe.noun_chunks)
    except NotImplementedError as error:
        raise BadInput(
            f"data.spans.pipeline: spaCy knows no noun chunks of the language {loaded.lang!r} of {pipeline!r}; "
            "set data.spans.use: windows."
        ) from error
    return loaded


def _identity(pipeline: "Language") -> str:
    """Names of software and pipeline, and a hash of the pipeline's files: a folder may be trained anew."""
    from spacy import __version__ as version

    digest = hashlib.sha256()
    for file in sorted(path for path in Path(pipeline.path or "").rglob("*") if path.is_file()):
        digest.update(file.relative_to(pipeline.path).as_posix().encode() + b"\0")
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    meta = pipeline.meta
    return f"spacy {version}, {meta['lang']}_{meta['name']} {meta['version']}, {digest.hexdigest()[:12]} ({REVISION})"
