"""How a question becomes the text that a model continues.

    alpaca   the exact words of MiniLLM and DSKD (after Stanford Alpaca), with and without an input
    plain    the prompt, followed by the completion
    chat     the tokenizer's own chat template (see `chat`)

A template makes pieces, not one string: only it knows which text came from a user, where special tokens must
stay ordinary text, and which was written by the template, where they are meant.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.data.columns import Conversation, Instruction, Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
TEMPLATES = ("alpaca", "plain", "chat")


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is tokenized on its own."""

    text: str
    is_literal: bool
    """Special tokens spelt out in it are text. False for what a chat template wrote."""
    is_assistant: bool = False
    """Said by the assistant."""
    is_closing: bool = False
    """The special token that ends what the assistant said."""


@dataclass(frozen=True)
class Rendered:
    """A sample as text: what is asked, and what is answered."""

    prompt: Sequence[Piece]
    response: Sequence[Piece]
    is_closed: bool = False
    """The template itself ended the response with a special token; otherwise the encoder appends the end
    token."""

    @property
    def prompt_text(self) -> str:
        return "".join(piece.text for piece in self.prompt)


class Template(ABC):
    """Turns samples into text."""

    writes_opening: bool = False
    """Whether the template writes what the tokenizer would put before a text (a begin token)."""

    @abstractmethod
    def render(self, sample: Sample, every_turn: bool = False) -> Rendered:
        """The pieces of a sample; `every_turn` also marks what the assistant said inside the prompt, if
        anything.

        `BadInput` where the sample has not the form that the template writes.
        """


class Alpaca(Template):
    """Instructions, with and without an input."""

    def render(self, sample: Sample, every_turn: bool = False) -> Rendered:
        question = sample.question
        if not isinstance(question, Instruction):
            other = "chat" if isinstance(question, Conversation) else "plain"
            raise _unfit(sample, "alpaca", "an instruction", other)
        words = ALPACA_WITH_INPUT if question.input else ALPACA
        # One pass over the template's own words: braces inside the instruction stay braces.
        text = words.format(instruction=question.instruction, input=question.input)
        return _two_pieces(text, sample.response)


class Plain(Template):
    """The prompt and nothing else; an instruction and its input stand one empty line apart."""

    def render(self, sample: Sample, every_turn: bool = False) -> Rendered:
        if isinstance(sample.question, Conversation):
            raise _unfit(sample, "plain", "a prompt", "chat")
        return _two_pieces(sample.question.text, sample.response)


def make_template(
    name: str, tokenizer: "PreTrainedTokenizerBase", chat_template: str | None = None
) -> Template:
    """The template called `name`. `chat_template` (Jinja text) stands in for the tokenizer's own, for "chat"
    only."""
    if name == "chat":
        from stillroom.data.chat import Chat

        return Chat(tokenizer, chat_template)
    if chat_template is not None:
        raise BadInput(
            f"a chat_template was given, but the template is {name!r}; set it to chat or drop the former."
        )
    if name == "alpaca":
        return Alpaca()
    if name == "plain":
        return Plain()
    near = difflib.get_close_matches(name, TEMPLATES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(TEMPLATES)}."
    raise BadInput(f"unknown template {name!r}; {hint}")


def _two_pieces(prompt: str, response: str) -> Rendered:
    return Rendered((Piece(prompt, is_literal=True),), (Piece(response, is_literal=True, is_assistant=True),))


def _unfit(sample: Sample, name: str, wanted: str, other: str) -> BadInput:
    kind = type(sample.question).__name__.lower()
    return BadInput(
        f"{sample.place}: template {name} writes {wanted}, got a {kind}; set template to {other}."
    )
