import json

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.columns import to_samples
from stillroom.data.sources import read_records
from stillroom.data.templates import Alpaca, Plain, make_template

HEAD = "Below is an instruction that describes a task"


def test_alpaca_words(sample) -> None:
    alone = Alpaca().render(sample(("Do {this}", ""), "Done"))
    assert alone.prompt_text == (
        HEAD + ". Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nDo {this}\n\n### Response:\n"
    )
    assert [piece.text for piece in alone.response] == ["Done"]
    assert Alpaca().render(sample(("Do", "{it}"), "Done")).prompt_text == (
        HEAD + ", paired with an input that provides further context. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nDo\n\n### Input:\n{it}\n\n### Response:\n"
    )


@pytest.mark.parametrize("name", ["minillm_dev", "minillm_test500", "minillm_train"])
def test_alpaca_is_the_prompt_of_the_published_files(real_data, name) -> None:
    path = real_data / "dolly" / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    samples = to_samples(read_records(path))
    assert len(samples) == len(rows)
    # Rows of the training file with row: null were decoded from cut token files; three lost their last words.
    different = [
        sample.place
        for sample, row in zip(samples, rows, strict=True)
        if row.get("row", 0) is not None
        and (Alpaca().render(sample).prompt_text != row["prompt"] or sample.response != row["output"])
    ]
    assert different == []


def test_plain_adds_nothing(sample) -> None:
    assert Plain().render(sample("Once upon", " a time")).prompt_text == "Once upon"
    assert Plain().render(sample(("Sum up", "text"), "t")).prompt_text == "Sum up\n\ntext"


def test_user_text_is_literal(sample) -> None:
    rendered = Alpaca().render(sample(("a", "b"), "c"))
    assert all(piece.is_literal for piece in (*rendered.prompt, *rendered.response))
    assert not rendered.is_closed


def test_sample_of_another_form_is_refused_with_the_template_that_fits(sample) -> None:
    talk = sample([("user", "hi")], "hello", 6)
    with pytest.raises(
        BadInput, match=r"data\.jsonl:7: template alpaca .* got a conversation; set template to chat"
    ):
        Alpaca().render(talk)
    with pytest.raises(BadInput, match=r"template plain .* set template to chat"):
        Plain().render(talk)
    with pytest.raises(BadInput, match="got a prompt; set template to plain"):
        Alpaca().render(sample("hi", "hello"))


def test_make_template(byte_tokenizer) -> None:
    tokenizer = byte_tokenizer()
    assert isinstance(make_template("alpaca", tokenizer), Alpaca)
    assert isinstance(make_template("plain", tokenizer), Plain)
    with pytest.raises(BadInput, match="unknown template 'alpacca'; did you mean 'alpaca'"):
        make_template("alpacca", tokenizer)
    with pytest.raises(BadInput, match="a chat_template was given, but the template is 'plain'"):
        make_template("plain", tokenizer, chat_template="{{ messages }}")
