"""The text and the empty models of the BabyLLaMA experiment: two teachers and a student with one tokenizer.

    python benchmarks/shd/babyllama_text.py --output babyllama --tokenizer pair/teacher --text passages.jsonl
    python benchmarks/shd/babyllama_text.py --output babyllama --tokenizer pair/teacher \
        --text Salesforce/wikitext:wikitext-103-raw-v1 --lines
    python benchmarks/shd/babyllama_text.py --output babylm --tokenizer timinar/baby-llama-58m --size paper \
        --text nilq/babylm-10M --lines

A source is what a recipe takes: a JSONL, JSON or Parquet file, or a data set on the Hugging Face hub (`name` or
`name:config`, its split `train`), with a column `text`; or a file that ends in .txt. With `--lines` rows are lines of
one text, as those of .txt files always are. The tokenizer is that of any model; `benchmarks/dolly/text.py` makes one
of 8,192 entries.

    babyllama/text.jsonl, text_dev.jsonl          text: pieces of at most 127 tokens
    babyllama/{gpt2,llama,student}                config.json and the tokenizer, no weights

Nothing of a document is lost; the encoder closes each piece with the end token. Pieces are shuffled, so that the first
of them (`data.limit`) are a fair sample. One document in fifty is held out, by a hash of its text. Records whose
`source` begins with one of `--without` are left out: those are the tasks that the students are examined on.
"""

import argparse
import hashlib
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from transformers import AutoTokenizer, GPT2Config, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerBase

from stillroom.core.errors import BadInput
from stillroom.core.record import write_jsonl
from stillroom.data.sources import read_records

PIECE = 127
"""Tokens; with the end token they are the 128 of the paper."""
DEV_SHARE = 50
CONTEXT = 256
SHAPES = {
    "small": {"gpt2": (128, 4, 8, 512), "llama": (128, 4, 4, 344), "student": (64, 3, 4, 176)},
    "paper": {"gpt2": (1536, 24, 16, 6144), "llama": (1024, 24, 8, 3072), "student": (512, 16, 8, 1024)},
}
"""Width, layers, heads, inner width. GPT-2 has twice as many heads as the student, the other teacher as many."""
PROSE = 6000
"""Characters of a document where lines are joined to some."""


def documents(source: str, lines: bool, without: tuple[str, ...]) -> Iterator[str]:
    """`BadInput` where a record has no text."""
    if source.endswith(".txt"):
        yield from joined(Path(source).read_text(encoding="utf-8").splitlines())
    elif lines:
        yield from joined(texts(source, without))
    else:
        yield from (text.strip() for text in texts(source, without))


def texts(source: str, without: tuple[str, ...]) -> Iterator[str]:
    records = read_records(source)
    for place, row in zip(records.places, records, strict=True):
        if not isinstance(row.get("text"), str):
            raise BadInput(
                f"{place}: expected a column 'text' with text in it, got the keys {', '.join(row)}."
            )
        if not (without and str(row.get("source", "")).startswith(without)):
            yield row["text"]


def joined(lines: Iterable[str]) -> Iterator[str]:
    """Lines that are not empty, as documents of `PROSE` characters."""
    text = ""
    for line in filter(None, map(str.strip, lines)):
        text += line + "\n"
        while len(text) > PROSE:
            yield text[:PROSE]
            text = text[PROSE:]
    yield text.rstrip()


def pieces(document: str, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Of at most `PIECE` tokens, cut before a word where there is one."""
    spans = tokenizer(document, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    start = 0
    while start < len(spans):
        end = min(start + PIECE, len(spans))
        word = next((at for at in range(end, start, -1) if _opens_word(document, spans, at)), end)
        yield document[spans[start][0] : spans[word - 1][1]]
        start = word


def _opens_word(document: str, spans: list[tuple[int, int]], at: int) -> bool:
    return at == len(spans) or document[spans[at][0]].isspace()


def is_held_out(document: str) -> bool:
    text = re.sub(r"\s+", " ", document.casefold())
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) % DEV_SHARE == 0


def configs(tokenizer: PreTrainedTokenizerBase, size: str) -> dict[str, PreTrainedConfig]:
    shared = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": size == "small",
    }
    made: dict[str, PreTrainedConfig] = {}
    for name, (width, layers, heads, inner) in SHAPES[size].items():
        if name == "gpt2":
            made[name] = GPT2Config(
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                n_inner=inner,
                n_positions=CONTEXT,
                architectures=["GPT2LMHeadModel"],
                **shared,
            )
        else:
            made[name] = LlamaConfig(
                hidden_size=width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=heads,
                intermediate_size=inner,
                max_position_embeddings=CONTEXT,
                architectures=["LlamaForCausalLM"],
                **shared,
            )
    return made


def make(given: argparse.Namespace) -> dict[str, int]:
    """Write everything; pieces by file."""
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    sides: dict[str, list[dict[str, str]]] = {"text": [], "text_dev": []}
    for source in given.text:
        for document in filter(None, documents(source, given.lines, tuple(given.without))):
            side = sides["text_dev" if is_held_out(document) else "text"]
            side += ({"text": piece} for piece in pieces(document, tokenizer) if piece.strip())
    for name, rows in sides.items():
        random.Random(0).shuffle(rows)
        write_jsonl(given.output / f"{name}.jsonl", rows)
    for name, config in configs(tokenizer, given.size).items():
        config.save_pretrained(given.output / name)
        tokenizer.save_pretrained(given.output / name)
    return {name: len(rows) for name, rows in sides.items()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--tokenizer", required=True, help="folder or hub name of any model with the tokenizer"
    )
    parser.add_argument("--text", action="append", required=True, help="hub name or file; may be repeated")
    parser.add_argument("--lines", action="store_true", help="rows are lines of one text")
    parser.add_argument(
        "--size", choices=list(SHAPES), default="small", help="of the models (default: %(default)s)"
    )
    parser.add_argument("--without", action="append", default=[], help="beginning of a `source` to leave out")
    given = parser.parse_args(arguments)
    try:
        counts = make(given)
    except BadInput as error:
        sys.exit(f"error: {error}")
    for name, count in counts.items():
        print(f"{given.output / name}.jsonl: {count:,} pieces")


if __name__ == "__main__":
    main()
