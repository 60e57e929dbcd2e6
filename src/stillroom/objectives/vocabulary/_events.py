"""Events that two vocabularies can both tell apart: a token, with all longer tokens of either side that begin with it.

    a token of one side only is counted to the longest token of the other side that its bytes begin with

`distillation`, which the teacher lacks, is to the teacher a `dist` with something behind it. Left in a bucket of its
own, its probability is compared with nothing that the teacher says, and the student unlearns its long tokens. What
joins is transitive, so tokens of both sides fall into classes: the finest partition in which every token that has a
counterpart lies with it. Tokens that begin with no token of the other side (control tokens, usually) are one more.
"""

from collections.abc import Iterable, Iterator

import networkx as nx
import torch
from torch import Tensor

from stillroom.core.byte_table import ByteTable
from stillroom.core.shape import ModelShape


def common_events(
    student: ModelShape, teacher: ModelShape, pairs: Iterable[tuple[int, int]]
) -> tuple[Tensor, Tensor, int]:
    """The event of every id, `[V]` and `[W]` int64, and how many there are; ids without one have the number of events.

    `pairs` are ids of student and teacher that are the same. The bytes of both vocabularies are known.
    """
    assert student.tokens is not None
    assert teacher.tokens is not None
    joined: nx.Graph = nx.Graph((("student", ours), ("teacher", theirs)) for ours, theirs in pairs)
    sides = (
        ("student", student.tokens, "teacher", teacher.tokens),
        ("teacher", teacher.tokens, "student", student.tokens),
    )
    alone = [
        ((side, index), (other, start))
        for side, table, other, others in sides
        for index, start in _beginnings(table, others)
        if (side, index) not in joined
    ]
    joined.add_edges_from(alone)
    classes = list(nx.connected_components(joined))
    events = {
        "student": [len(classes)] * student.vocab_size,
        "teacher": [len(classes)] * teacher.vocab_size,
    }
    for number, members in enumerate(classes):
        for side, index in members:
            events[side][index] = number
    return torch.tensor(events["student"]), torch.tensor(events["teacher"]), len(classes)


def _beginnings(table: ByteTable, other: ByteTable) -> Iterator[tuple[int, int]]:
    """Every ordinary token with the longest token of the other vocabulary that it begins with."""
    known = {
        piece: index
        for index, piece in reversed(list(enumerate(other.pieces)))
        if piece and not other.special[index]
    }
    for index, piece in enumerate(table.pieces):
        if table.special[index]:
            continue
        found = next((known[piece[:end]] for end in range(len(piece), 0, -1) if piece[:end] in known), None)
        if found is not None:
            yield index, found


def over_events(log_p: Tensor, events: Tensor, count: int) -> Tensor:
    """Log-probabilities `[n,V]` of tokens to those of events `[n,count+1]`, the last of them that of all tokens without
    one. What is below the smallest number of the format is that number."""
    sums = log_p.new_zeros(len(log_p), count + 1).index_add(1, events, log_p.exp())
    return sums.clamp(min=torch.finfo(log_p.dtype).tiny).log()
