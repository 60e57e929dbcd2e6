"""What the tests of this room share: a tokenizer of bytes, samples, and the folder of real data."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stillroom.data.columns import Conversation, Instruction, Message, Prompt, Question, Sample

SPECIALS = ("<|end|>", "<|pad|>", "<|begin|>")
DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture
def byte_tokenizer() -> Callable[..., PreTrainedTokenizerBase]:
    """Makes tokenizers with one token a byte, so that a test can count tokens by counting letters."""

    def make(begins: bool = False, **settings: str) -> PreTrainedTokenizerBase:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(alphabet)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(list(SPECIALS))
        if begins:
            begin = ("<|begin|>", tokenizer.token_to_id("<|begin|>"))
            tokenizer.post_processor = processors.TemplateProcessing("<|begin|> $A", special_tokens=[begin])
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{"eos_token": "<|end|>"} | settings)

    return make


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """Makes one sample; its question is a text, (instruction, input), or a list of (role, content)."""

    def make(
        question: str | tuple[str, str] | list[tuple[str, str]], response: str, index: int = 0
    ) -> Sample:
        asked: Question
        if isinstance(question, str):
            asked = Prompt(question)
        elif isinstance(question, tuple):
            asked = Instruction(*question)
        else:
            asked = Conversation(tuple(Message(*message) for message in question))
        return Sample(index, f"data.jsonl:{index + 1}", asked, response, (response,))

    return make


@pytest.fixture
def real_data() -> Path:
    if not (DATA / "dolly" / "minillm_train.jsonl").exists():
        pytest.skip("needs the real data (STILLROOM_DATA)")
    return DATA


@pytest.fixture
def bench_tokenizer(real_data: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(real_data / "weights" / "bench" / "teacher")
