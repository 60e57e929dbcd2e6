"""Model families with random weights, two layers and width 32: what the taps must hold for."""

from collections.abc import Callable

import torch
import transformers as tf

from stillroom.core.batch import Side

VOCAB = 61
_IDS = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
MLA = {"kv_lora_rank": 8, "q_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6}
MOE = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 16,
}


def _without(*names: str) -> dict:
    return {name: value for name, value in SIZES.items() if name not in names}


CONFIGS: dict[str, Callable[[], tf.PreTrainedConfig]] = {
    "llama": lambda: tf.LlamaConfig(**SIZES),
    "qwen2": lambda: tf.Qwen2Config(**SIZES),
    "qwen3": lambda: tf.Qwen3Config(**SIZES, head_dim=16),
    "mistral": lambda: tf.MistralConfig(**SIZES, sliding_window=4),
    "gemma2": lambda: tf.Gemma2Config(
        **SIZES,
        head_dim=8,
        sliding_window=4,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        query_pre_attn_scalar=5,
    ),
    "gemma3_text": lambda: tf.Gemma3TextConfig(
        **SIZES, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"]
    ),
    "phi3": lambda: tf.Phi3Config(**SIZES, sliding_window=5),
    "gpt2": lambda: tf.GPT2Config(
        **_IDS, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3
    ),
    "gpt_neox": lambda: tf.GPTNeoXConfig(**_without("num_key_value_heads"), rotary_pct=0.5),
    "opt": lambda: tf.OPTConfig(
        **_without("num_key_value_heads", "intermediate_size", "initializer_range"),
        ffn_dim=48,
        word_embed_proj_dim=32,
        init_std=0.3,
    ),
    "deepseek_v2": lambda: tf.DeepseekV2Config(
        **{**SIZES, "num_key_value_heads": 4}, **MLA, **MOE, n_group=1, topk_group=1
    ),
    "deepseek_v3": lambda: tf.DeepseekV3Config(
        **{**SIZES, "num_key_value_heads": 4}, **MLA, **MOE, n_group=2, topk_group=1
    ),
    "cohere": lambda: tf.CohereConfig(**SIZES, logit_scale=0.25),
    "granite": lambda: tf.GraniteConfig(**SIZES, logits_scaling=4.0, attention_multiplier=0.3),
}


def family(name: str, attention: str = "sdpa", seed: int = 0) -> tf.PreTrainedModel:
    """A model of the family in evaluation mode; equal seeds give equal weights."""
    return build(CONFIGS[name](), "eager" if name == "gemma2" and attention == "sdpa" else attention, seed)


def build(config: tf.PreTrainedConfig, attention: str = "eager", seed: int = 0) -> tf.PreTrainedModel:
    tf.set_seed(seed)
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return model.eval()


def padded(left: bool, length: int = 9, short: int = 5) -> Side:
    """Two rows, one of them shorter: its padding stands on the left or on the right."""
    ids = torch.randint(3, VOCAB, (2, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    row = ids[1, :short].clone()
    ids[1], mask[1] = 0, 0
    place = slice(length - short, None) if left else slice(0, short)
    ids[1, place], mask[1, place] = row, 1
    return Side(ids, mask, mask.bool())
