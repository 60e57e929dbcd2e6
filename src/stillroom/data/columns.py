"""What the columns of a data set mean: a question, the response to it, and its references.

Recognised, in this order:

    messages                                     list of {"role", "content"}, the last one from the assistant
    instruction [+ input or context]             with output, response or completion
    prompt                                       with completion, response or output
    text                                         with none of these: plain text, which continues an empty prompt

A response may be a list of references: the first is trained on, all are kept. The first usable record decides
which columns are read; the others must have them too, so that a misspelt key cannot silently change what is
trained on.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from stillroom.core.errors import BadInput
from stillroom.data.sources import OnBadRecord, Records, Row

QUESTIONS = ("messages", "instruction", "prompt")
INPUTS = ("input", "context")
RESPONSES = ("output", "response", "completion")
PLAIN = "text"


@dataclass(frozen=True)
class Prompt:
    """A text that the response continues."""

    text: str


@dataclass(frozen=True)
class Instruction:
    """A task and, perhaps, what it is about."""

    instruction: str
    input: str = ""

    @property
    def text(self) -> str:
        return f"{self.instruction}\n\n{self.input}" if self.input else self.instruction


@dataclass(frozen=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True)
class Conversation:
    """All messages before the response."""

    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


Question = Prompt | Instruction | Conversation


@dataclass(frozen=True)
class Sample:
    """One record, understood."""

    index: int
    """Position among the records that were read: messages name rows by it."""
    place: str
    """Where a person finds it, for example file:line."""
    question: Question
    response: str
    references: tuple[str, ...]
    """Every accepted response; the first is `response`."""
    spans: Any = None
    """Words and phrases of the response as the data set brings them, not checked yet (`spans.given`)."""


@dataclass(frozen=True)
class Samples(Sequence[Sample]):
    """The samples of one source, with what had to be left out."""

    source: str
    sha256: str
    samples: list[Sample]
    skipped: list[str] = field(default_factory=list)
    """One sentence for each record that was left out, while reading or here."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return self.samples[index]

    def __len__(self) -> int:
        return len(self.samples)


def to_samples(
    records: Records, on_bad_record: OnBadRecord = "refuse", spans_field: str | None = None
) -> Samples:
    """Understand every record. `BadInput` names the place, the keys found and the closest known column.

    `spans_field` names the column of the responses' words and phrases; every record must have it then.
    """
    result = Samples(records.source, records.sha256, [], list(records.skipped))
    columns: tuple[str, str] | None = None
    for index, row in enumerate(records):
        try:
            columns = columns or _columns(row)
            question, references = _read(row, *columns)
            spans = None if spans_field is None else _spans(row, spans_field)
        except BadInput as error:
            sentence = f"{records.places[index]}: {error}"
            if on_bad_record == "refuse":
                raise BadInput(sentence) from error
            result.skipped.append(sentence)
            continue
        result.samples.append(
            Sample(index, records.places[index], question, references[0], references, spans)
        )
    if not result.samples:
        raise BadInput(
            f"{records.source}: none of {len(records)} records is usable; the first: {result.skipped[0]}"
        )
    return result


def _columns(row: Row) -> tuple[str, str]:
    """Names of the question's and the response's column."""
    if "messages" in row:
        return "messages", "messages"
    if PLAIN in row and not {*QUESTIONS, *RESPONSES} & row.keys():
        return PLAIN, PLAIN
    question = next((key for key in QUESTIONS if key in row), None)
    response = next((key for key in RESPONSES if key in row), None)
    if question and response:
        return question, response
    raise _missing(row, RESPONSES if question else QUESTIONS)


def _missing(row: Row, wanted: Sequence[str]) -> BadInput:
    names = {key.lower(): key for key in row}
    near = [
        f"did you mean {name!r} by {names[match[0]]!r}?"
        for name in wanted
        if name not in row and (match := difflib.get_close_matches(name, names, n=1, cutoff=0.75))
    ]
    advice = near[0] if near else "expected messages, or instruction + output, or prompt + completion."
    found = ", ".join(map(repr, row)) or "none"
    return BadInput(f"no column {' or '.join(wanted)} among the keys {found}; {advice}")


def _read(row: Row, question: str, response: str) -> tuple[Question, tuple[str, ...]]:
    for name in (question, response):
        if name not in row:
            raise _missing(row, (name,))
    if question == "messages":
        return _conversation(row["messages"])
    if question == PLAIN:
        return Prompt(""), (_text(row[PLAIN], PLAIN),)
    references = _references(row[response], response)
    text = _text(row[question], question)
    if question == "prompt":
        return Prompt(text), references
    # Tables hold null where an optional column has no value: for the input alone, null means absent.
    name = next((key for key in INPUTS if row.get(key) is not None), None)
    return Instruction(text, _text(row[name], name) if name else ""), references


def _conversation(value: Any) -> tuple[Conversation, tuple[str, ...]]:
    if not isinstance(value, list) or not value:
        raise BadInput(f"column 'messages' must be a list of messages, got {_kind(value)}.")
    messages = []
    for number, message in enumerate(value):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise BadInput(
                f"messages[{number}] must be an object with role and content, got {_kind(message)}."
            )
        name = f"messages[{number}]"
        messages.append(
            Message(_text(message["role"], name + ".role"), _text(message["content"], name + ".content"))
        )
    last = messages.pop()
    if last.role != "assistant" or not messages:
        raise BadInput(
            f"a conversation must end with a message of the assistant after at least one other message; "
            f"its {len(value)} end with one of {last.role!r}."
        )
    return Conversation(tuple(messages)), (last.content,)


def _references(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        return (_text(value, name),)
    if not value:
        raise BadInput(f"column {name!r} must be text or a list of texts, got an empty list.")
    return tuple(_text(item, f"{name}[{number}]") for number, item in enumerate(value))


def _spans(row: Row, name: str) -> Any:
    if name not in row:
        found = ", ".join(map(repr, row))
        raise BadInput(f"no column {name!r} of spans among the keys {found}; check data.spans.field.")
    return row[name]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadInput(f"column {name!r} must be text, got {_kind(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON may escape half a pair, which no tokenizer can take
        raise BadInput(
            f"column {name!r} holds half a surrogate pair at character {error.start}; remove it."
        ) from error
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    content = f" with the keys {', '.join(map(repr, value)) or 'none'}" if isinstance(value, dict) else ""
    return f"a {type(value).__name__}{content}"
