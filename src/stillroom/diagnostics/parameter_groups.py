"""Which of a student's trained parameters belong together: by block, and by what the attention map depends on.

A block's attention map depends on its query and key projections alone, so what an objective on maps asks of a block
is asked of these first (values and outputs matter to the blocks above). Tied weights count once, as the embedding.
"""

import re

from torch import nn

from stillroom.taps.anatomy import blocks, causal_lm

ALL, QUERY_KEY, EMBEDDING, REST = "all", "query and key", "embedding", "outside the blocks"

_PROJECTION = re.compile(
    r"(?:^|[._])(?:q_proj|k_proj|query|key|c_attn|qkv|qkv_proj|query_key_value|Wqkv)(?:[._]|$)"
)
"""Families that fuse queries, keys and values in one matrix (GPT-2, NeoX, Phi-3) give all three here."""


def trained_parameters(student: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter that training moves, once, in the order of the model."""
    return {name: each for name, each in student.named_parameters() if each.requires_grad}


def parameter_groups(student: nn.Module) -> dict[str, list[int]]:
    """Positions in `trained_parameters` by group; groups without a trained parameter are left out."""
    lm = causal_lm(student)
    owner = {
        id(each): f"block {number}" for number, block in _numbered(blocks(lm)) for each in block.parameters()
    }
    owner |= {id(each): EMBEDDING for each in lm.get_input_embeddings().parameters()}
    trained = trained_parameters(student)
    groups: dict[str, list[int]] = {ALL: list(range(len(trained))), QUERY_KEY: []}
    groups |= {EMBEDDING: []} | {f"block {number}": [] for number, _ in _numbered(blocks(lm))} | {REST: []}
    for position, (name, parameter) in enumerate(trained.items()):
        groups[owner.get(id(parameter), REST)].append(position)
        if _PROJECTION.search(name):
            groups[QUERY_KEY].append(position)
    return {name: members for name, members in groups.items() if members}


def _numbered(stack: nn.ModuleList) -> list[tuple[int, nn.Module]]:
    return list(enumerate(stack, start=1))
