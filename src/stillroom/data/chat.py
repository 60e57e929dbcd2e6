"""The chat template of a tokenizer, rendered prefix by prefix so that the assistant's turns are known.

The response is what the whole conversation has beyond its prompt: `render(all) - render(before, generation
prompt)`. A template whose longer text does not begin with the shorter one (some drop earlier reasoning) is
refused, because what would be trained on is then not what is generated from.

Special tokens that a user spelt out are swapped for markers before rendering and come back as literal pieces:
the template's own special tokens are tokens, the user's are text.
"""

import hashlib
import re
from typing import TYPE_CHECKING

from stillroom.core.errors import BadInput
from stillroom.data.columns import Conversation, Message, Sample
from stillroom.data.templates import Piece, Rendered, Template
from stillroom.data.tokens import special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A private-use character around a number; it is marked itself, so that no text can imitate a marker.
FENCE = "\ue000"
MARKER = re.compile(f"{FENCE}(\\d+){FENCE}")


class Chat(Template):
    """The tokenizer's chat template, or the Jinja text `chat_template` instead of it."""

    writes_opening = True

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", chat_template: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._template = chat_template if chat_template is not None else _own_template(tokenizer)
        self._specials = special_tokens(tokenizer)
        self._marked = [*self._specials, FENCE]
        self._pattern = re.compile("|".join(map(re.escape, self._marked)))

    def render(self, sample: Sample, every_turn: bool = False) -> Rendered:
        messages = self._messages(sample)
        prompt = self._text(sample, messages[:-1], asks=True)
        whole = self._text(sample, messages)
        spoken, closing = self._split_closing(_beyond(sample, prompt, whole, "use template alpaca or plain"))
        pieces = self._turns(sample, messages[:-1], prompt) if every_turn else self._pieces(prompt)
        return Rendered(pieces, self._spoken(spoken, closing), is_closed=bool(closing))

    def _messages(self, sample: Sample) -> list[dict[str, str]]:
        if isinstance(sample.question, Conversation):
            asked = sample.question.messages
        else:
            asked = (Message("user", sample.question.text),)
        said = [*asked, Message("assistant", sample.response)]
        return [
            {"role": message.role, "content": self._pattern.sub(self._mark, message.content)}
            for message in said
        ]

    def _mark(self, match: re.Match[str]) -> str:
        return f"{FENCE}{self._marked.index(match[0])}{FENCE}"

    def _text(self, sample: Sample, messages: list[dict[str, str]], asks: bool = False) -> str:
        import jinja2

        try:
            text = self._tokenizer.apply_chat_template(
                messages, chat_template=self._template, add_generation_prompt=asks, tokenize=False
            )
        except jinja2.TemplateError as error:
            raise BadInput(f"{sample.place}: the chat template refuses this conversation: {error}") from error
        return str(text)

    def _turns(self, sample: Sample, messages: list[dict[str, str]], prompt: str) -> list[Piece]:
        """The prompt cut into stretches that the assistant said and others. What follows the special token
        that closes a turn (usually a newline) is nobody's speech."""
        pieces: list[Piece] = []
        done = 0
        for number, message in enumerate(messages):
            if message["role"] != "assistant" or number == 0:  # a greeting answers nothing
                continue
            before = self._text(sample, messages[:number], asks=True)
            until = self._text(sample, messages[: number + 1])
            advice = "use train_on responses"
            _beyond(sample, until, prompt, advice)
            spoken, closing = self._split_closing(_beyond(sample, before, until, advice))
            pieces += self._pieces(prompt[done : len(before)]) + self._spoken(spoken, closing)
            done = len(before) + len(spoken + closing)
        return pieces + self._pieces(prompt[done:])

    def _split_closing(self, text: str) -> tuple[str, str]:
        """What was said, and the special token that closes it ("" where the template writes none)."""
        stripped = text.rstrip()
        closing = next((token for token in self._specials if stripped.endswith(token)), "")
        return (stripped.removesuffix(closing), closing) if closing else (text, "")

    def _spoken(self, spoken: str, closing: str) -> list[Piece]:
        """What the assistant said, and the token that ends it in a piece of its own."""
        pieces = self._pieces(spoken, is_assistant=True)
        return [*pieces, Piece(closing, False, is_assistant=True, is_closing=True)] if closing else pieces

    def _pieces(self, text: str, is_assistant: bool = False) -> list[Piece]:
        """Template text and, between it, the literal pieces that the markers stand for."""
        # With one group in the pattern, split() alternates text and marker number.
        parts = MARKER.split(text)
        pieces = [
            Piece(self._marked[int(part)] if number % 2 else part, bool(number % 2), is_assistant)
            for number, part in enumerate(parts)
        ]
        return [piece for piece in pieces if piece.text]


def check_same_chat_template(student: "PreTrainedTokenizerBase", teacher: "PreTrainedTokenizerBase") -> None:
    """`BadInput`, with the hashes of both, where student and teacher write conversations differently."""
    first, second = template_hash(_own_template(student)), template_hash(_own_template(teacher))
    if first != second:
        raise BadInput(
            f"the chat templates of student (sha256 {first}) and teacher (sha256 {second}) differ; give one "
            "chat_template for both, or use template alpaca or plain."
        )


def template_hash(chat_template: str) -> str:
    """The first 12 hexadecimal digits of the template's SHA-256."""
    return hashlib.sha256(chat_template.encode()).hexdigest()[:12]


def _own_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        name = tokenizer.name_or_path or "given"
        raise BadInput(
            f"template chat needs a chat template, and the tokenizer {name!r} has none; "
            "give a chat_template, or use template alpaca or plain."
        ) from error


def _beyond(sample: Sample, start: str, text: str, advice: str) -> str:
    if not text.startswith(start):
        raise BadInput(
            f"{sample.place}: the chat template rewrites earlier text when messages are added, which hides "
            f"where the assistant's turns begin; give a chat_template that only appends, or {advice}."
        )
    return text[len(start) :]
