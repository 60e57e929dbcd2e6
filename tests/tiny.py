"""Tiny models and data for tests: random weights, a vocabulary of a few dozen, no network."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, set_seed


def tiny_llama(seed: int = 0, vocab_size: int = 37, width: int = 16, layers: int = 2) -> LlamaForCausalLM:
    """A Llama of a few thousand parameters; equal seeds give equal weights."""
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


class TinyDataset(torch.utils.data.Dataset):
    """Random token sequences of uneven length with a prompt of two to four tokens."""

    def __init__(self, size: int = 16, vocab_size: int = 37, seed: int = 0, all_masked: tuple = ()) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.items = []
        for index in range(size):
            length = int(torch.randint(6, 14, (), generator=generator))
            prompt = int(torch.randint(2, 5, (), generator=generator))
            ids = torch.randint(3, vocab_size, (length,), generator=generator).tolist()
            trained = [index not in all_masked and position >= prompt for position in range(length)]
            self.items.append({"input_ids": ids, "response_mask": trained, "sample_ids": index})
        self.lengths = [len(item["input_ids"]) for item in self.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict:
        return self.items[index]
