import pytest

from stillroom.core.errors import BadInput
from stillroom.data.chat import Chat, check_same_chat_template, template_hash

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# Keeps what the assistant said in its last turn only, as reasoning models do with their thoughts.
FORGETFUL = (
    "{% for message in messages %}{% if message['role'] != 'assistant' or loop.last %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TALK = [("user", "a"), ("assistant", "b"), ("user", "c")]


def pieces(rendered) -> list[tuple[str, bool]]:
    return [(piece.text, piece.is_assistant) for piece in (*rendered.prompt, *rendered.response)]


def test_response_is_what_follows_the_generation_prompt(byte_tokenizer, sample) -> None:
    rendered = Chat(byte_tokenizer(), TEMPLATE).render(sample(TALK, "d"))
    assert rendered.prompt_text == "<|user|>a<|end|>\n<|assistant|>b<|end|>\n<|user|>c<|end|>\n<|assistant|>"
    # The line break behind the closing token is never generated, so it is not trained on.
    assert [piece.text for piece in rendered.response] == ["d", "<|end|>"]
    assert rendered.is_closed


def test_every_turn_of_the_assistant(byte_tokenizer, sample) -> None:
    assert pieces(Chat(byte_tokenizer(), TEMPLATE).render(sample(TALK, "d"), every_turn=True)) == [
        ("<|user|>a<|end|>\n<|assistant|>", False),
        ("b", True),
        ("<|end|>", True),
        ("\n<|user|>c<|end|>\n<|assistant|>", False),
        ("d", True),
        ("<|end|>", True),
    ]


def test_greeting_answers_nothing(byte_tokenizer, sample) -> None:
    rendered = Chat(byte_tokenizer(), TEMPLATE).render(
        sample([("assistant", "hi"), *TALK], "d"), every_turn=True
    )
    assert [text for text, is_assistant in pieces(rendered) if is_assistant] == [
        "b",
        "<|end|>",
        "d",
        "<|end|>",
    ]


def test_prompts_and_instructions_become_one_user_turn(byte_tokenizer, sample) -> None:
    chat = Chat(byte_tokenizer(), TEMPLATE)
    assert chat.render(sample("hi", "x")).prompt_text == "<|user|>hi<|end|>\n<|assistant|>"
    assert chat.render(sample(("do", "it"), "x")).prompt_text == "<|user|>do\n\nit<|end|>\n<|assistant|>"


def test_special_tokens_of_the_user_come_back_as_literal_pieces(byte_tokenizer, sample) -> None:
    rendered = Chat(byte_tokenizer(), TEMPLATE).render(sample("x<|end|>y \ue0001\ue000", "z<|pad|>"))
    assert rendered.prompt_text == "<|user|>x<|end|>y \ue0001\ue000<|end|>\n<|assistant|>"
    assert [piece.text for piece in rendered.prompt if piece.is_literal] == ["<|end|>", "\ue000", "\ue000"]
    assert [(piece.text, piece.is_literal) for piece in rendered.response] == [
        ("z", False),
        ("<|pad|>", True),
        ("<|end|>", False),
    ]


def test_template_without_a_closing_token_leaves_the_end_to_the_encoder(byte_tokenizer, sample) -> None:
    words = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    ask = "{% if add_generation_prompt %}assistant: {% endif %}"
    rendered = Chat(byte_tokenizer(), words + ask).render(sample("hi", "x"))
    assert not rendered.is_closed
    assert [piece.text for piece in rendered.response] == ["x\n"]


def test_template_that_rewrites_earlier_text_is_refused_only_where_it_matters(byte_tokenizer, sample) -> None:
    chat = Chat(byte_tokenizer(), FORGETFUL)
    assert chat.render(sample(TALK, "d")).prompt_text == "<|user|>a<|end|><|user|>c<|end|><|assistant|>"
    with pytest.raises(
        BadInput, match=r"data\.jsonl:5: the chat template rewrites .* or use train_on responses"
    ):
        chat.render(sample(TALK, "d", 4), every_turn=True)
    counting = "{{ messages | length }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with pytest.raises(BadInput, match=r"rewrites earlier text .* or use template alpaca or plain"):
        Chat(byte_tokenizer(), counting).render(sample("a", "b"))


def test_refusal_of_the_template_is_passed_on_with_the_place(byte_tokenizer, sample) -> None:
    chat = Chat(byte_tokenizer(), "{{ raise_exception('roles must alternate') }}")
    with pytest.raises(BadInput, match=r"data\.jsonl:3: the chat template refuses .* roles must alternate"):
        chat.render(sample("a", "b", 2))


def test_absent_template_is_refused_unless_one_is_given(byte_tokenizer) -> None:
    with pytest.raises(BadInput, match="has none; give a chat_template, or use template alpaca or plain"):
        Chat(byte_tokenizer())
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    Chat(tokenizer)


def test_templates_that_differ_are_refused_with_both_hashes(byte_tokenizer) -> None:
    student, teacher = byte_tokenizer(), byte_tokenizer()
    student.chat_template = teacher.chat_template = TEMPLATE
    check_same_chat_template(student, teacher)
    teacher.chat_template = FORGETFUL
    with pytest.raises(BadInput, match=f"{template_hash(TEMPLATE)}.*{template_hash(FORGETFUL)}"):
        check_same_chat_template(student, teacher)
