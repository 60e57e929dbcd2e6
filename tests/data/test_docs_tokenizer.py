import json
from importlib.resources import files
from pathlib import Path

from transformers import AutoTokenizer

from stillroom.data.docs_tokenizer import END, PAD, train_tokenizer
from stillroom.data.python_docs import Harvest

ROWS = [
    {
        "instruction": f"What does `pack{n}` do?",
        "input": "",
        "output": "It packs.",
        "module": "m",
        "source": "s",
    }
    for n in range(20)
]


def test_the_same_rows_give_the_same_tokenizer_and_any_text_survives():
    first = train_tokenizer(Harvest(ROWS, []), vocab_size=300)
    second = train_tokenizer(Harvest(ROWS, []), vocab_size=300)
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()
    assert len(first) <= 300
    text = " Über the \t naïve ∑ of 鴨, , twice  spaced."
    assert first.decode(first(text)["input_ids"]) == text


def test_ids_of_the_special_tokens():
    tokenizer = train_tokenizer(Harvest(ROWS, []), vocab_size=300)
    assert tokenizer.convert_tokens_to_ids([END, PAD]) == [0, 1]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 0, 1)


def test_held_out_rows_teach_nothing():
    alone = train_tokenizer(Harvest(ROWS, []), vocab_size=300)
    beside = train_tokenizer(Harvest(ROWS, [{**ROWS[0], "output": "zzzzzzzzzz" * 50}]), vocab_size=300)
    assert alone.get_vocab() == beside.get_vocab()


def test_the_shipped_tokenizers_are_one_and_small():
    folder = Path(str(files("stillroom"))) / "assets" / "python_docs"
    texts = [
        (folder / side / "tokenizer.json").read_text(encoding="utf-8") for side in ("student", "teacher")
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) < 300_000
    for side in ("student", "teacher"):
        tokenizer = AutoTokenizer.from_pretrained(folder / side)
        config = json.loads((folder / side / "config.json").read_text(encoding="utf-8"))
        assert len(tokenizer) == config["vocab_size"]
        assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
        assert (config["eos_token_id"], config["pad_token_id"]) == (0, 1)
