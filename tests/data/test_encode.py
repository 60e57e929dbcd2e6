import pytest
from reference.encoding import encode_one
from torch.utils.data import DataLoader

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.data.chat import Chat
from stillroom.data.collate import Collator
from stillroom.data.columns import to_samples
from stillroom.data.encode import encode, keep_end
from stillroom.data.prompts import prompts_for_generation
from stillroom.data.sources import read_records

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
TALK = [("user", "a"), ("assistant", "b"), ("user", "c")]


def texts(tokenizer, item) -> tuple[str, str]:
    """The whole text of an item, and what is trained on."""
    return tokenizer.decode(item["input_ids"]), tokenizer.decode(item["input_ids"][item["response_mask"]])


def test_prompt_is_read_and_response_with_its_end_is_trained(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer()
    data = encode([sample("abc", "de", 5)], tokenizer, "plain", 20)
    assert texts(tokenizer, data[0]) == ("abcde<|end|>", "de<|end|>")
    assert data[0]["sample_ids"] == 5
    assert data.report == {
        "samples": 1,
        "tokens": 6,
        "response_tokens": 3,
        "dropped_empty": 0,
        "dropped_no_response": 0,
        "cut_prompts": 0,
        "cut_responses": 0,
        "special_in_text": 0,
    }


@pytest.mark.parametrize(
    ("response", "max_length", "trained", "is_cut"),
    [("efg", 8, "efg<|end|>", 0), ("efgh", 8, "efgh", 1), ("efghi", 8, "efgh", 1), ("efg", 7, "efg", 1)],
)
def test_end_token_only_where_the_response_is_whole(
    byte_tokenizer, sample, response, max_length, trained, is_cut
) -> None:
    tokenizer = byte_tokenizer()
    data = encode([sample("abcd", response)], tokenizer, "plain", max_length, max_prompt_length=4)
    assert texts(tokenizer, data[0])[1] == trained
    assert len(data[0]["input_ids"]) <= max_length
    assert data.report["cut_responses"] == is_cut


def test_long_prompt_keeps_its_end_and_its_begin_token(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer(begins=True)
    data = encode([sample("abcdefgh", "x")], tokenizer, "plain", 8)
    assert texts(tokenizer, data[0])[0] == "<|begin|>fghx<|end|>"
    assert data.report["cut_prompts"] == 1
    uncut = encode([sample("abc", "x")], tokenizer, "plain", 8)
    assert texts(tokenizer, uncut[0])[0] == "<|begin|>abcx<|end|>"
    assert uncut.report["cut_prompts"] == 0


@pytest.mark.parametrize(("limit", "kept"), [(1, [0]), (2, [0, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])])
def test_keep_end(limit, kept) -> None:
    assert keep_end([0], [1, 2, 3], limit) == kept


def test_prompt_that_fills_everything_is_dropped_and_counted(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer()
    rows = [sample("abcdefgh", "x", 0), sample("ab", "x", 1)]
    data = encode(rows, tokenizer, "plain", 8, max_prompt_length=8)
    assert [item["sample_ids"] for item in (data[n] for n in range(len(data)))] == [1]
    assert (data.report["samples"], data.report["dropped_no_response"]) == (1, 1)
    with pytest.raises(BadInput, match=r"none of 1 samples is left to train on \(0 empty, 1 without"):
        encode(rows[:1], tokenizer, "plain", 8, max_prompt_length=8)


def test_empty_responses_are_dropped_up_to_one_in_a_hundred(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer()
    rows = [sample("a", " \n" if n == 30 else "b", n) for n in range(100)]
    data = encode(rows, tokenizer, "plain", 8)
    assert (len(data), data.report["dropped_empty"]) == (99, 1)
    with pytest.raises(BadInput, match=r"data\.jsonl:31: 1 of 99 responses are empty"):
        encode(rows[1:], tokenizer, "plain", 8)
    assert len(encode(rows[1:], tokenizer, "plain", 8, on_bad_record="skip")) == 98


def test_special_tokens_in_user_text_are_text_and_counted(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer()
    rows = [sample("a<|end|>", "b<|pad|>"), sample("c", "d")]
    data = encode(rows, tokenizer, "plain", 64)
    special = set(tokenizer.all_special_ids)
    assert [n for n, token in enumerate(data[0]["input_ids"].tolist()) if token in special] == [16]
    assert texts(tokenizer, data[0])[0] == "a<|end|>b<|pad|><|end|>"
    assert data.report["special_in_text"] == 1


@pytest.mark.parametrize(
    ("train_on", "trained"),
    [
        ("responses", "d<|end|>"),
        ("all_assistant", "b<|end|>d<|end|>"),
        ("everything", "|user|>a<|end|>\n<|assistant|>b<|end|>\n<|user|>c<|end|>\n<|assistant|>d<|end|>"),
    ],
)
def test_what_is_trained_on_in_a_conversation(byte_tokenizer, sample, train_on, trained) -> None:
    """The first token is never trained on: nothing comes before it that could predict it."""
    tokenizer = byte_tokenizer()
    data = encode([sample(TALK, "d")], tokenizer, Chat(tokenizer, TEMPLATE), 256, train_on=train_on)
    whole, kept = texts(tokenizer, data[0])
    assert whole == "<|user|>a<|end|>\n<|assistant|>b<|end|>\n<|user|>c<|end|>\n<|assistant|>d<|end|>"
    assert kept == trained
    # The template's own closing tokens are tokens: three in the prompt and the one behind the response.
    assert data[0]["input_ids"].tolist().count(tokenizer.eos_token_id) == 4


def test_user_cannot_close_a_turn(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer()
    data = encode([sample([("user", "a<|end|>")], "d")], tokenizer, Chat(tokenizer, TEMPLATE), 256)
    assert data[0]["input_ids"].tolist().count(tokenizer.eos_token_id) == 2
    assert data.report["special_in_text"] == 1


@pytest.mark.parametrize("padding", ["<|pad|>", "<|end|>", None])
@pytest.mark.parametrize("side", ["right", "left"])
def test_end_token_is_learnt_whatever_padding_is(byte_tokenizer, sample, padding, side) -> None:
    tokenizer = byte_tokenizer(**({"pad_token": padding} if padding else {}))
    rows = [sample("abc", "de", 0), sample("a", "b", 1), sample("", "c", 2)]
    data = encode(rows, tokenizer, "plain", 16)
    collator = Collator(tokenizer.pad_token_id or 0, side)
    (inputs,) = DataLoader(data, batch_size=3, collate_fn=collator)
    batch = Batch.from_inputs(inputs)
    scored = [
        tokenizer.decode(row[keep])
        for row, keep in zip(batch.student.targets, batch.student.predicts, strict=True)
    ]
    assert scored == ["de<|end|>", "b<|end|>", "<|end|>"]
    assert batch.student.predicts.sum() == data.report["response_tokens"]


def test_generation_starts_from_the_ids_of_training(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer(begins=True)
    rows = [sample("abcdefghij", "xy", 3), sample("a<|end|>", "z", 4)]
    data = encode(rows, tokenizer, "plain", 12)
    items = prompts_for_generation(rows, tokenizer, "plain", 6)
    for n, item in enumerate(items):
        assert item.ids == data[n]["input_ids"][~data[n]["response_mask"]].tolist()
    assert (items[0].text, items[0].references, items[0].sample_id) == ("abcdefghij", ("xy",), 3)
    chat = prompts_for_generation([sample(TALK, "d")], tokenizer, Chat(tokenizer, TEMPLATE), 256)
    assert (
        tokenizer.decode(chat[0].ids)
        == chat[0].text
        == Chat(tokenizer, TEMPLATE).render(sample(TALK, "other")).prompt_text
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 1}, "max_length must be at least 2"),
        ({"max_length": 8, "max_prompt_length": 9}, "between 1 and max_length 8, got 9"),
        ({"max_length": 8, "max_prompt_length": 0}, "between 1 and max_length 8, got 0"),
        ({"max_length": 8, "train_on": "answers"}, "train_on must be one of .* got 'answers'"),
    ],
)
def test_bad_settings(byte_tokenizer, sample, settings, words) -> None:
    with pytest.raises(BadInput, match=words):
        encode([sample("a", "b")], byte_tokenizer(), "plain", **settings)
    with pytest.raises(BadInput, match="max_prompt_length must be at least 1"):
        prompts_for_generation([sample("a", "b")], byte_tokenizer(), "plain", 0)


def test_tokenizer_without_an_end_token(byte_tokenizer, sample) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(BadInput, match="no end token to close responses with; set its eos_token"):
        encode([sample("a", "b")], tokenizer, "plain", 8)


def test_dolly_is_what_plain_loops_give(real_data, bench_tokenizer) -> None:
    """Prompts cut to their last 256 tokens, 512 in all: how the teacher of the bench pair was trained."""
    samples = to_samples(read_records(real_data / "dolly" / "minillm_dev.jsonl"))
    rows = read_records(real_data / "dolly" / "minillm_dev.jsonl")
    data = encode(samples, bench_tokenizer, "alpaca", 512)
    assert len(data) == 1000
    for n, row in enumerate(rows):
        ids, mask = encode_one(row["prompt"], row["output"], bench_tokenizer, 512)
        assert data[n]["input_ids"].tolist() == ids
        assert data[n]["response_mask"].tolist() == mask
    assert data.report["response_tokens"] == sum(int(data[n]["response_mask"].sum()) for n in range(1000))
    assert data.report["cut_prompts"] > 0
    assert data.report["cut_responses"] > 0
