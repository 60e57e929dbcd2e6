"""Model folders and data files for tests that start where a person starts: at the command line."""

import json
from pathlib import Path

import torch
from tiny import tiny_llama
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = ["what is the name of the house", "the stillroom is where things are distilled", "spirits and scents"]
QUESTIONS = [
    {"instruction": f"What is number {i}?", "output": f"It is the number {i}, of course."} for i in range(40)
]
CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_tokenizer(
    texts: list[str] = TEXT, vocab_size: int = 300, chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """Byte-level BPE of a few hundred tokens; <end> is 0, <pad> is 1."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<end>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts * 3, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )
    fast.chat_template = chat_template
    return fast


def space_tokenizer(
    texts: list[str] = TEXT, vocab_size: int = 330, chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """In the manner of SentencePiece: a space before any text, bytes where letters have no piece; <unk>, <s>, </s>."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts * 3, trainer)
    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"] = definition["added_tokens"][:3]  # pieces of one byte are no special tokens
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = chat_template
    return fast


def model_folder(
    folder: Path,
    *,
    seed: int,
    rows: int | None = None,
    width: int = 16,
    tokenizer: PreTrainedTokenizerFast | None = None,
    poison: bool = False,
) -> Path:
    """A saved tiny Llama with its tokenizer. `rows` of the head default to the tokenizer's size."""
    tokenizer = tokenizer or tiny_tokenizer()
    model = tiny_llama(seed, vocab_size=rows or len(tokenizer), width=width)
    model.config.max_position_embeddings = 512
    if poison:
        with torch.no_grad():
            model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
