import subprocess
import sys
from typing import Any

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.columns import Conversation, Instruction, Message, Prompt, to_samples
from stillroom.data.sources import Records

GOOD = {"instruction": "i", "output": "o"}


def records(*rows: dict[str, Any]) -> Records:
    return Records("a.jsonl", "hash", list(rows), [f"a.jsonl:{n + 1}" for n in range(len(rows))])


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"prompt": "p", "completion": "o"}, Prompt("p")),
        ({"prompt": "p", "response": "o"}, Prompt("p")),
        ({"instruction": "i", "output": "o"}, Instruction("i")),
        ({"instruction": "i", "input": "x", "output": "o"}, Instruction("i", "x")),
        ({"instruction": "i", "context": "x", "response": "o", "category": 3}, Instruction("i", "x")),
        ({"instruction": "i", "input": None, "output": "o"}, Instruction("i")),
        ({"text": "o", "source": "a book"}, Prompt("")),
        # MiniLLM's files hold the rendered prompt beside the instruction.
        ({"prompt": "rendered", "instruction": "i", "input": "", "output": "o"}, Instruction("i")),
    ],
)
def test_recognised_columns(row: dict[str, Any], question: Any) -> None:
    sample = to_samples(records(row))[0]
    assert (sample.question, sample.response, sample.references) == (question, "o", ("o",))
    assert (sample.index, sample.place) == (0, "a.jsonl:1")


def test_messages_end_with_the_response() -> None:
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    sample = to_samples(records(row))[0]
    assert sample.question == Conversation(tuple(Message(*turn) for turn in turns[:-1]))
    assert sample.response == "d"


def test_first_of_several_references_is_trained_on() -> None:
    sample = to_samples(records({"instruction": "i", "output": ["first", "second"]}))[0]
    assert (sample.response, sample.references) == ("first", ("first", "second"))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"instruction": "i", "ouput": "o"}, "did you mean 'output' by 'ouput'?"),
        ({"Instruction": "i", "output": "o"}, "did you mean 'instruction' by 'Instruction'?"),
        ({"txt": "t"}, "among the keys 'txt'; expected messages, or instruction"),
        ({"text": "t", "output": "o"}, "among the keys 'text', 'output'; expected messages, or instruction"),
        ({"text": None}, "column 'text' must be text, got null"),
        ({}, "among the keys none"),
        ({"instruction": ["i"], "output": "o"}, "column 'instruction' must be text, got a list"),
        ({"instruction": "i", "output": None}, "column 'output' must be text, got null"),
        ({"instruction": "i", "output": 3}, "column 'output' must be text, got a int"),
        ({"instruction": "i", "output": []}, "got an empty list"),
        ({"instruction": "i", "output": ["a", None]}, "column 'output[1]' must be text, got null"),
        ({"instruction": "i", "input": 7, "output": "o"}, "column 'input' must be text, got a int"),
        ({"instruction": "i\ud800", "output": "o"}, "half a surrogate pair at character 1"),
        ({"messages": "hello"}, "column 'messages' must be a list of messages, got a str"),
        ({"messages": []}, "column 'messages' must be a list"),
        ({"messages": [{"role": "user"}]}, "messages[0] must be an object with role and content"),
        ({"messages": [{"from": "human", "value": "x"}]}, "with the keys 'from', 'value'"),
        ({"messages": [{"role": "user", "content": None}]}, "'messages[0].content' must be text, got null"),
        ({"messages": [{"role": "user", "content": "x"}]}, "must end with a message of the assistant"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "after at least one other message"),
    ],
)
def test_bad_record_is_named(row: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        to_samples(records(row))
    assert str(caught.value).startswith("a.jsonl:1: ")
    assert words in str(caught.value)


def test_later_records_must_have_the_columns_of_the_first() -> None:
    later = {"instuction": "i", "prompt": "p", "output": "o"}
    with pytest.raises(BadInput, match=r"a\.jsonl:2: no column instruction .* 'instruction' by 'instuction'"):
        to_samples(records(GOOD, later))


def test_skipping_lists_what_was_left_out_and_keeps_the_indices() -> None:
    source = records({"words": "t"}, GOOD, {"instruction": "i", "output": None}, GOOD)
    source.skipped.append("a.jsonl:9: broken")
    samples = to_samples(source, on_bad_record="skip")
    assert [sample.index for sample in samples] == [1, 3]
    assert [sentence.split(": ")[0] for sentence in samples.skipped] == [
        "a.jsonl:9",
        "a.jsonl:1",
        "a.jsonl:3",
    ]
    assert len(source.skipped) == 1
    with pytest.raises(BadInput, match="none of 1 records is usable"):
        to_samples(records({"words": "t"}), on_bad_record="skip")


def test_checking_data_needs_no_torch() -> None:
    script = (
        "import sys, stillroom.data.columns, stillroom.data.templates;"
        "print({name for name in ('torch', 'datasets') if name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
