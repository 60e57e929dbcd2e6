"""Segmenters by name, as recipes call them."""

from stillroom.core.errors import BadInput
from stillroom.data.spans.cache import Cached
from stillroom.data.spans.segmentation import Segmenter
from stillroom.data.spans.windows import Windows

SEGMENTERS = ("textblob", "spacy", "windows")


def make_segmenter(use: str, pipeline: str | None = None, cache: bool = True) -> Segmenter:
    """The segmenter called `use`; `pipeline` names what spaCy loads. `cache` keeps what it cuts (`cache.default_file`).

    Windows are cut faster than they are looked up, and are never cached.
    """
    if use not in SEGMENTERS:
        raise BadInput(f"data.spans.use: unknown {use!r}; expected one of {', '.join(SEGMENTERS)}.")
    if (pipeline is not None) != (use == "spacy"):
        raise BadInput(
            f"data.spans.pipeline: {use} takes none; remove it or set data.spans.use: spacy."
            if pipeline is not None
            else "data.spans.pipeline: spacy needs the name or the folder of a pipeline, such as en_core_web_sm."
        )
    if use == "windows":
        return Windows()
    segmenter = _load(pipeline)
    return Cached(segmenter) if cache else segmenter


def _load(pipeline: str | None) -> Segmenter:
    if pipeline is not None:
        from stillroom.data.spans.spacy import Spacy

        return Spacy(pipeline)
    from stillroom.data.spans.textblob import TextBlob

    return TextBlob()
