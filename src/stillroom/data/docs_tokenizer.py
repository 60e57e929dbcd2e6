"""The byte-level BPE tokenizer of the documentation models, rebuilt from the training rows of a harvest."""

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from stillroom.data.python_docs import Harvest, prompted

END, PAD = "<|endoftext|>", "<|pad|>"


def train_tokenizer(harvested: Harvest, *, vocab_size: int = 4096) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the training rows: `END` is id 0 and begins and ends texts, `PAD` is id 1.

    Any text can be encoded: all 256 bytes are in the vocabulary. The same harvest gives the same tokenizer.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(harvested), trainer, length=len(harvested.train))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def _texts(harvested: Harvest) -> Iterator[str]:
    for row in harvested.train:
        pair = prompted(row)
        yield pair["prompt"] + pair["completion"]
