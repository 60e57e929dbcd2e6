"""Tokenizers of every kind: small ones trained here, and real ones where their files lie."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from stillroom.alignment.reader import Reader

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[2] / "../shared/data"))
TEXT = [
    "The stillroom is where things are distilled; spirits, scents and 12345 other waters.",
    "They're distilled twice: once for strength, once for taste.\n\n\tIndented, naïve café.",
    "Größe und Maß, Ärger, déjà vu, Привет мир, 日本語 と 中文, مرحبا",
] * 4
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<end>"], initial_alphabet=letters, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def byte_fallback() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=40,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return plain_bytes(tokenizer)


def plain_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """Byte pieces as ordinary pieces, as SentencePiece files have them: the trainer can only add special ones."""
    import json

    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"] = [
        each for each in definition["added_tokens"] if not each["content"].startswith("<0x")
    ]
    return Tokenizer.from_str(json.dumps(definition))


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def trimming() -> Tokenizer:
    """Byte-level with a space before any text and offsets without spaces, as RoBERTa has it."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


SMALL = {
    "byte_level": byte_level,
    "byte_fallback": byte_fallback,
    "unigram": unigram,
    "word_piece": word_piece,
    "trimming": trimming,
}
REAL = ("gpt2", "llama2", "mistral-7b-v0.1", "qwen1.5")


@cache
def make_reader(name: str) -> Reader:
    if name in SMALL:
        return Reader(SMALL[name]().to_str())
    folder = DATA / "tokenizers" / name
    if not folder.exists():
        pytest.skip(f"{folder} is absent: set STILLROOM_DATA")
    if (folder / "tokenizer.json").exists():
        return Reader((folder / "tokenizer.json").read_text())
    return Reader((bert if name.startswith("bert") else qwen)(folder).to_str())


def qwen(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer


def bert(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    return tokenizer


@pytest.fixture(scope="session")
def reader() -> Callable[[str], Reader]:
    """A reader by the name of its tokenizer; skips where a real one is absent."""
    return make_reader


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA
