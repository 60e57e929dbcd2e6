"""The text, the tokenizer and the empty models of the benchmark pair, from public data.

    python benchmarks/dolly/text.py --output pair
    python benchmarks/dolly/text.py --output pair --text articles.jsonl --dolly dolly.jsonl     # files of your own

Sources are what a recipe takes: a JSONL, JSON or Parquet file, or a data set on the Hugging Face hub (`name` or
`name:config`, its split `train`). The text has a column `text`: lines of WikiText, or one document a row. Dolly
has an instruction, perhaps a context, and a response.

    pair/teacher, pair/student     config.json and the tokenizer, no weights
    pair/text.jsonl                prompt and completion: pieces of documents without a prompt, and the questions
                                   of dolly_train with their answers, once, in Alpaca's words
    pair/text_dev.jsonl            the same form: the questions and answers of dolly_dev
    pair/dolly_{train,dev}.jsonl   instruction, input, output

The same sources give the same files. No piece spans two documents; as the encoder ends every piece with the end
token, the models also learn to stop where a piece was cut, until the epoch on Dolly shows them where answers end.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from stillroom.core.errors import BadInput
from stillroom.core.record import write_jsonl
from stillroom.data.columns import Instruction, Sample, to_samples
from stillroom.data.sources import read_records
from stillroom.data.templates import Alpaca

WIKITEXT, DOLLY = "Salesforce/wikitext:wikitext-103-raw-v1", "databricks/databricks-dolly-15k"
END, PAD = "<|endoftext|>", "<|pad|>"
VOCABULARY, CONTEXT = 8192, 1024
SHAPES = {
    "teacher": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "intermediate_size": 1024,
    },
    "student": {
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    },
}
PIECE = 900  # characters: about 230 tokens
DEV_SHARE = 15  # one question in so many is held out: about 1,000 of Dolly's 15,011

Rows = list[dict[str, str]]


def make_pair(folder: Path, text: str, dolly: str, characters: int) -> dict[str, Rows]:
    """Write everything and return the rows of each file. `BadInput` where a source is not as described above."""
    train, dev = split(read_dolly(dolly))
    pieces = [piece for document in documents(read_text(text), characters) for piece in cut(document)]
    files = {
        "text": [{"prompt": "", "completion": piece} for piece in pieces] + list(map(spelled, train)),
        "text_dev": list(map(spelled, dev)),
        "dolly_train": list(map(columns, train)),
        "dolly_dev": list(map(columns, dev)),
    }
    for name, rows in files.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    tokenizer = train_tokenizer(row["prompt"] + row["completion"] for row in files["text"])
    for name, shape in SHAPES.items():
        tokenizer.save_pretrained(folder / name)
        config(shape, len(tokenizer)).save_pretrained(folder / name)
    return files


def read_text(source: str) -> list[str]:
    records = read_records(source)
    for place, row in zip(records.places, records, strict=True):
        if not isinstance(row.get("text"), str):
            raise BadInput(
                f"{place}: expected a column 'text' with text in it, got the keys {', '.join(row)}."
            )
    return [row["text"] for row in records]


TITLE = re.compile(r" = [^=\n]+ = \n?$")
"""A line that opens an article of WikiText; ` = = Section = = ` does not."""


def documents(rows: list[str], characters: int) -> Iterator[str]:
    """The first documents, `characters` in all. Rows are documents; with titles among them they are lines."""
    has_titles = any(TITLE.match(row) for row in rows)
    for document in articles(rows) if has_titles else rows:
        if not document.strip():
            continue
        yield document.strip()[:characters]
        characters -= len(document)
        if characters <= 0:
            return


def articles(rows: Iterable[str]) -> Iterator[str]:
    """The lines from title to title."""
    lines: list[str] = []
    for row in rows:
        if TITLE.match(row):
            yield prose(lines)
            lines = []
        lines.append(row.strip())
    yield prose(lines)


def prose(lines: list[str]) -> str:
    """Lines of WikiText without its marks of tokenization: `1 @,@ 000 men .` is `1,000 men.`"""
    text = re.sub(r" @([-,.])@ ", r"\1", "\n".join(filter(None, lines)))
    return re.sub(r" (?=[,.;:!?)%]|'s\b)|(?<=\() ", "", text)


def cut(document: str) -> list[str]:
    """Pieces of nearly equal length, about `PIECE` characters at most, cut between words."""
    count = -(-len(document) // PIECE)
    ends = [0]
    for number in range(1, count):
        space = re.compile(r"\s").search(document, max(ends[-1], number * len(document) // count))
        ends.append(space.start() if space else len(document))
    pieces = [document[start:end].strip() for start, end in pairwise([*ends, len(document)])]
    return [piece for piece in pieces if piece]


def read_dolly(source: str) -> list[Sample]:
    samples = to_samples(read_records(source))
    for sample in samples:
        if not isinstance(sample.question, Instruction):
            kind = type(sample.question).__name__.lower()
            raise BadInput(f"{sample.place}: expected an instruction and its response, got a {kind}.")
    return [sample for sample in samples if sample.response.strip()]


def split(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Training and held-out samples. The question decides, so that one asked twice is on one side only."""
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for sample in samples:
        question = " ".join(sample.question.text.casefold().split())
        digest = hashlib.sha256(question.encode()).digest()
        sides[int.from_bytes(digest[:8]) % DEV_SHARE == 0].append(sample)
    if not all(sides):
        raise BadInput(
            f"{len(samples)} questions give {len(sides[0])} to train on and {len(sides[1])} held out (one in "
            f"{DEV_SHARE}, by hash); give more of them."
        )
    return sides


def columns(sample: Sample) -> dict[str, str]:
    question = sample.question
    assert isinstance(question, Instruction)
    return {"instruction": question.instruction, "input": question.input, "output": sample.response}


def spelled(sample: Sample) -> dict[str, str]:
    """For the template `plain`, what the template `alpaca` would make of it."""
    return {"prompt": Alpaca().render(sample).prompt_text, "completion": sample.response}


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE after NFC: `END` is id 0, `PAD` is id 1; nothing is put around a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def config(shape: dict[str, int], vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        **shape,
        num_key_value_heads=2,
        vocab_size=vocabulary,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        architectures=["LlamaForCausalLM"],
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the pair")
    parser.add_argument("--text", default=WIKITEXT, help="hub name or file (default: %(default)s)")
    parser.add_argument("--dolly", default=DOLLY, help="hub name or file (default: %(default)s)")
    parser.add_argument(
        "--characters", type=int, default=40_000_000, help="of text, at most (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        files = make_pair(given.output, given.text, given.dolly, given.characters)
    except BadInput as error:
        sys.exit(f"error: {error}")
    for name, rows in files.items():
        print(f"{given.output / name}.jsonl: {len(rows):,} records")


if __name__ == "__main__":
    main()
