"""How an exam of texts is sat, every number stated: what is left of a long prompt, how texts are drawn.

    clean     the last 256 tokens of a prompt stay, the words that ask for the answer among them; greedy, plus the
              sampling seeds that are asked for; no n-gram is forbidden
    minillm   the numbers of MiniLLM's evaluation, to the letter: the first 256 tokens of a prompt stay, so that a
              long one loses "### Response:"; sampling with five seeds; no 6-gram may come again; likelihood is that
              of the first 256 tokens of a reference, without an end token

Paper:    Gu et al. (2024), MiniLLM; the n-gram rule is a default of its code that the paper does not name
Code:     MiniLLM `evaluate.py`
Differs:  MiniLLM pads every prompt to exactly 256 tokens on the left; here as far as the longest of its batch. With
          mask and positions taken from the mask, padding changes no answer. It draws texts from torch's global
          stream in float16; here each text has a stream of its own, so that the five numbers are others than
          theirs, and their mean is the same but for chance. Where a tokenizer opens texts with a token, MiniLLM scores
          one before every reference; here none. Temperature, top-p and top-k of 1, 1 and 0 are plain
          sampling.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from stillroom.core.errors import BadInput


@dataclass(frozen=True)
class Protocol:
    """Settings of an exam of texts. Lengths are in tokens."""

    name: str
    template: str = "alpaca"
    max_length: int = 512
    """Of prompt and text together."""
    max_prompt_length: int = 256
    keeps: Literal["first", "last"] = "last"
    """Which tokens of a long prompt stay."""
    max_response_length: int | None = None
    """Of a reference that is scored; None: what the prompt leaves of `max_length`."""
    scores_end: bool = True
    """Whether the end token behind a reference is scored, too."""
    adds_opening: bool = True
    """Whether a prompt opens with what the tokenizer puts before a text (a begin token)."""
    greedy: bool = True
    """Whether a greedy text is written, and is the one that counts. Otherwise the mean over the seeds counts."""
    seeds: tuple[int, ...] = ()
    """One sampled text for every prompt and seed."""
    sampling_temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: every token may be drawn. No other value is built."""
    no_repeat_ngram_size: int = 0
    answered: int | None = None
    """Only the first so many prompts are answered; None: all. Likelihood is that of all references in any case."""

    @property
    def max_new_tokens(self) -> int:
        return self.max_length - self.max_prompt_length

    def describe(self) -> dict[str, Any]:
        """Every setting, for the result."""
        return asdict(self) | {
            "seeds": list(self.seeds),
            "max_new_tokens": self.max_new_tokens,
            "rouge_l": "rouge-score, rougeL, F-measure, Porter stemmer, best of the references, times 100",
            "likelihood": f"of the first reference, {'with' if self.scores_end else 'without'} the end token",
        }


CLEAN = Protocol("clean")
MINILLM = Protocol(
    "minillm",
    keeps="first",
    max_response_length=256,
    scores_end=False,
    adds_opening=False,
    greedy=False,
    seeds=(10, 20, 30, 40, 50),
    no_repeat_ngram_size=6,
)
PROTOCOLS = {protocol.name: protocol for protocol in (CLEAN, MINILLM)}


def protocol_named(
    name: str, seeds: Sequence[int] = (), template: str | None = None, answered: int | None = None
) -> Protocol:
    """The protocol `name`, with other sampling seeds, another template or fewer answers where they are given.

    `BadInput` for an unknown name, a seed given twice, or a template that the protocol's name rules out.
    """
    if name not in PROTOCOLS:
        raise BadInput(f"unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}.")
    protocol = PROTOCOLS[name]
    if len(set(seeds)) < len(seeds):
        raise BadInput(f"a seed is given twice in {', '.join(map(str, seeds))}; give each one once.")
    if template is not None and template != protocol.template:
        if name == MINILLM.name:
            raise BadInput(f"protocol minillm writes template alpaca, got {template!r}; use protocol clean.")
        protocol = replace(protocol, template=template)
    return replace(protocol, seeds=tuple(seeds) or protocol.seeds, answered=answered)
