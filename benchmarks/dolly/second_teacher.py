"""A teacher with another tokenizer: the body of a trained model, new embeddings for a SentencePiece-style vocabulary.

    python benchmarks/dolly/second_teacher.py --teacher pair/teacher --text dolly_train.jsonl --output pair/second-start
    stillroom distill benchmarks/dolly/second_teacher.yaml

The vocabulary is cut as Llama 2 cuts: BPE over words that begin with `▁`, scripts apart, digits one by one, a space put
before any text, letters it does not know as UTF-8 bytes `<0x0A>`, and the specials `<unk>`, `<s>`, `</s>`.

    row of a new token = mean of the old rows of the old tokens that spell the same bytes

so a token that both vocabularies have keeps its row, and the specials take theirs by role (begin and end from the old
ones, `<unk>` is the mean of all rows). The model forgets little, but must learn its new boundaries: that is what
`second_teacher.yaml` is for. `--layers N` keeps N of the layers, evenly spaced, the first and the last among them.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stillroom.alignment.byte_table import byte_table
from stillroom.alignment.reader import Reader
from stillroom.alignment.vocabulary_map import ABSENT, vocabulary_map
from stillroom.core.errors import BadInput
from stillroom.data.sources import read_records
from stillroom.recipe.models import load_tokenizer

UNKNOWN, BEGIN, END = SPECIALS = ("<unk>", "<s>", "</s>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
VOCABULARY = 6000
ALPHABET = 200  # letters with a token of their own; the others are bytes
SAME_KIND = r"▁?(\p{L}+|\p{N}|[^\p{L}\p{N}▁]+)"
"""What one token may span, as SentencePiece has it: a word, one digit, or signs."""


def make_teacher(teacher: str, texts: list[str], output: Path, layers: int | None = None) -> LlamaForCausalLM:
    """Write the new model and tokenizer and return the model. `BadInput` where a source cannot be used."""
    body = load_body(teacher, layers)
    old = load_tokenizer(teacher, "teacher")
    new = train_tokenizer(line for text in texts for line in read_lines(text))
    model = transplant(body, old, new)
    model.save_pretrained(output)
    new.save_pretrained(output)
    return model


def read_lines(source: str) -> Iterator[str]:
    """Every line of every text of a file: newlines are bytes to this tokenizer and part of no other token."""
    for row in read_records(source):
        for value in row.values():
            if isinstance(value, str):
                yield from filter(None, value.splitlines())


def train_tokenizer(texts: Iterable[str], size: int = VOCABULARY) -> PreTrainedTokenizerFast:
    """At most `size` entries: specials, 256 bytes, then the pieces of a BPE trained on `texts`."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = word_parts()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIALS) - len(BYTES), limit_alphabet=ALPHABET, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    learned = trained.get_vocab()
    pieces = [*SPECIALS, *BYTES, *sorted(learned, key=learned.__getitem__)]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: index for index, piece in enumerate(pieces)},
            merges=merges_of(trained),
            unk_token=UNKNOWN,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.pre_tokenizer = word_parts()
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, SPECIALS.index(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )


def word_parts() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Metaspace(prepend_scheme="first")
    return pre_tokenizers.Sequence([words, pre_tokenizers.Split(Regex(SAME_KIND), "isolated")])


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def load_body(source: str, layers: int | None) -> LlamaForCausalLM:
    """The trained model with all its layers, or `layers` of them."""
    model = LlamaForCausalLM.from_pretrained(source)
    depth = model.config.num_hidden_layers
    if layers is None:
        return model
    if not 1 <= layers <= depth:
        raise BadInput(f"--layers: expected between 1 and the {depth} layers of {source}, got {layers}.")
    model.config.num_hidden_layers = layers
    smaller = LlamaForCausalLM(model.config)
    for new, old in enumerate(np.linspace(0, depth - 1, layers).round().astype(int)):
        smaller.model.layers[new].load_state_dict(model.model.layers[old].state_dict())
    smaller.model.norm = model.model.norm
    smaller.set_input_embeddings(model.get_input_embeddings())
    smaller.set_output_embeddings(model.get_output_embeddings())
    return smaller


def transplant(
    model: LlamaForCausalLM, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase
) -> LlamaForCausalLM:
    """`model` with embeddings (and a head, where it has its own) for the tokenizer `new`."""
    rows = [
        mean_rows(each.weight.detach(), old, new)
        for each in (model.get_input_embeddings(), model.get_output_embeddings())
    ]
    model.resize_token_embeddings(len(new), mean_resizing=False)
    for each, row in zip((model.get_input_embeddings(), model.get_output_embeddings()), rows, strict=True):
        each.weight.data.copy_(row)
    roles = {
        "bos_token_id": new.bos_token_id,
        "eos_token_id": new.eos_token_id,
        "pad_token_id": new.pad_token_id,
    }
    for config in (model.config, model.generation_config):
        for name, index in roles.items():
            setattr(config, name, index)
    return model


def mean_rows(rows: torch.Tensor, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> torch.Tensor:
    """`[V, d]` for the new tokens from `[W, d]` of the old ones."""
    reader = Reader(old.backend_tokenizer.to_str())
    after = byte_table(new.backend_tokenizer.to_str())
    roles = [(new.bos_token_id, old.bos_token_id), (new.eos_token_id, old.eos_token_id)]
    same = vocabulary_map(after, reader.table).to_teacher
    made = rows.mean(0).expand(len(after), -1).clone()
    for index, piece in enumerate(after.pieces):
        if same[index] != ABSENT:
            made[index] = rows[same[index]]
        elif not after.special[index]:
            made[index] = rows[reader.read(piece.decode()).ids].mean(0)
    for index, other in roles:
        if other is not None:
            made[index] = rows[other]
    return made


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", required=True, help="folder of a trained Llama and its tokenizer")
    parser.add_argument("--text", nargs="+", required=True, help="JSONL files to learn the vocabulary from")
    parser.add_argument("--output", type=Path, required=True, help="folder for the new model")
    parser.add_argument("--layers", type=int, help="how many layers to keep (default: all)")
    given = parser.parse_args(arguments)
    try:
        model = make_teacher(given.teacher, given.text, given.output, given.layers)
    except BadInput as error:
        sys.exit(f"error: {error}")
    print(
        f"{given.output}: {model.num_parameters() / 1e6:.1f} M parameters, {model.config.vocab_size:,} tokens"
    )


if __name__ == "__main__":
    main()
