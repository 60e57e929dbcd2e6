"""What the libraries do with what the paper asks of them: attention outputs, the scheduler, multi-head attention."""

from typing import Any

import torch
from findings import Finding
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

FAMILIES = ("GPT-2", "OPT", "Llama")


def tiny(family: str, attention: str, dropout: float = 0.1) -> PreTrainedModel:
    """Two layers, two heads, width 16, random weights."""
    torch.manual_seed(0)
    common: dict[str, Any] = {
        "vocab_size": 50,
        "attn_implementation": attention,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    small: dict[str, Any] = {
        "max_position_embeddings": 32,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    if family == "GPT-2":
        return GPT2LMHeadModel(
            GPT2Config(n_positions=32, n_embd=16, n_layer=2, n_head=2, attn_pdrop=dropout, **common)
        )
    if family == "OPT":
        return OPTForCausalLM(
            OPTConfig(ffn_dim=32, word_embed_proj_dim=16, attention_dropout=dropout, **small, **common)
        )
    return LlamaForCausalLM(LlamaConfig(intermediate_size=32, attention_dropout=dropout, **small, **common))


def attention_maps(model: PreTrainedModel, mask: Tensor | None = None) -> tuple[Tensor, ...]:
    """`[B,H,S,S]` of every layer for four random texts of 16 tokens, or nothing if the model gives
    nothing."""
    ids = torch.randint(3, 50, (4, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(ids, attention_mask=mask, output_attentions=True).attentions


def row_sums(family: str, training: bool) -> tuple[float, float]:
    """Smallest and largest sum of an attention row: one, unless dropout was applied to what is returned."""
    model = tiny(family, "eager").train(training)
    sums = torch.stack(attention_maps(model)).sum(dim=-1)
    return float(sums.min()), float(sums.max())


def padded_row(family: str) -> list[float]:
    """The attention of a query of left padding over all 16 keys, the first five of them padding."""
    mask = torch.ones(4, 16, dtype=torch.long)
    mask[:, :5] = 0
    return attention_maps(tiny(family, "eager").eval(), mask)[0][0, 0, 0].tolist()


def maps_under_sdpa(family: str) -> int:
    """How many attention maps come back when asked for under SDPA."""
    return len(attention_maps(tiny(family, "sdpa").eval()))


def onecycle_betas() -> tuple[float, float]:
    """Smallest and largest beta_1 of AdamW under `OneCycleLR` as it comes."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-4, total_steps=20, pct_start=0.1)
    seen = []
    for _ in range(19):
        seen.append(optimizer.param_groups[0]["betas"][0])
        optimizer.step()
        schedule.step()
    return min(seen), max(seen)


def permuted() -> tuple[float, float]:
    """Change of an MHA's output under a permutation of its tokens: of the tokens in place, and of their
    mean."""
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    tokens = torch.randn(2, 3, 16, dtype=torch.float64)
    output, other = (module(each, each, each)[0].detach() for each in (tokens, tokens[:, [2, 0, 1]]))
    return float((output - other).norm()), float((output.mean(dim=1) - other.mean(dim=1)).norm())


def algorithm_4_runs(batch: int, spaces: int) -> bool:
    """Whether `Zeros(B, D) + (B x R x D)`, as Algorithm 4 has it, gives a `[B,D]`."""
    try:
        return (torch.zeros(batch, 4) + torch.zeros(batch, spaces, 4)).shape == (batch, 4)
    except RuntimeError:
        return False


def findings() -> list[Finding]:
    return [dropout(), flash(), padding(), scheduler(), mha()]


def dropout() -> Finding:
    rows = []
    for family in FAMILIES:
        train, still = row_sums(family, True), row_sums(family, False)
        rows.append({
            "family": family, "training, least": train[0], "training, most": train[1],
            "evaluation, least": still[0], "evaluation, most": still[1],
        })  # fmt: skip
    return Finding(
        "dropout",
        "Attention maps are compared while attention dropout is 0.1 (A.4, A.7)",
        "cannot be tested from the paper",
        "In training mode the maps come back after dropout: sums of rows between "
        f"{min(row['training, least'] for row in rows):.2f} and "
        f"{max(row['training, most'] for row in rows):.2f} instead of 1 in GPT-2, OPT and Llama (two "
        "heads, 16 tokens). What is compared then depends on the library's version.",
        {"table": rows},
    )


def flash() -> Finding:
    counts = {family: maps_under_sdpa(family) for family in FAMILIES}
    megabytes = 32 * 32 * 4 * 512 * 512 * 2 / 1e6
    return Finding(
        "maps",
        "'Extract attention patterns from all layers and heads' (C.1.1)",
        "cannot be tested from the paper",
        f"Under SDPA {sum(counts.values())} maps come back, with a line in the log and no error; eager "
        f"attention is needed, and OPT-6.7B's maps (B = 4, S = 512, 16 bits) are {megabytes:,.0f} MB.",
        {"maps under SDPA": counts, "OPT-6.7B, MB": megabytes},
    )


def padding() -> Finding:
    rows = {family: padded_row(family) for family in FAMILIES}
    spread = max(max(row) - min(row) for row in rows.values())
    return Finding(
        "padding",
        "MeanPool over the sequence with dynamic batching (Eq 17, A.4)",
        "cannot be tested from the paper",
        "A query of left padding comes back as 1/S over all keys, padding and future included (deviation "
        f"{spread:.0e}): every such row adds the same constant to the mean unless it is left out.",
        {"row of a padded query": rows},
    )


def scheduler() -> Finding:
    low, high = onecycle_betas()
    return Finding(
        "scheduler",
        "AdamW with beta_1 = 0.9 and OneCycleLR (A.5)",
        "false",
        f"PyTorch's OneCycleLR moves beta_1 between {low:.2f} and {high:.2f} unless `cycle_momentum=False`.",
        {"least": low, "most": high},
    )


def mha() -> Finding:
    in_place, of_mean = permuted()
    return Finding(
        "MHA",
        "The integration is permutation invariant and keeps the dimension (B.5); Algorithm 4",
        "false",
        f"Attention over the rank spaces follows a permutation (outputs move by {in_place:.1f}); only "
        f"their mean does not ({of_mean:.0e}). Algorithm 4 takes no mean: it adds B x R x D to B x D, "
        "which fails, or at B = R gives another shape. It also makes new weights at every call. The "
        "proposition that B.5 proves is not in the paper.",
        {
            "outputs": in_place, "mean": of_mean,
            "B=4, R=3 gives B x D": algorithm_4_runs(4, 3), "B=3, R=3 gives B x D": algorithm_4_runs(3, 3),
        },
    )  # fmt: skip
