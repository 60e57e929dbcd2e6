"""Teacher heads, what they are merged to, and the student's heads, as maps of one text that fit on a page.

S x S maps are made here and nowhere in training: one text, one layer at a time, and a few tokens of it are kept.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from stillroom.core.head_merge import HeadMerge
from stillroom.core.inspection import HeadPicture, LayerPicture
from stillroom.core.signals import QueryKey, QueryKeys, Signals
from stillroom.kernels._attention_map import attention_map
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels.squeezed_kl import squeezed_kl
from stillroom.objectives.attention._family import shared_window

MOST_TOKENS, BEFORE = 24, 8
"""How many tokens are shown, and how many of them before the first one that is trained on."""


def shown(trained: Tensor) -> slice:
    """Which positions of a text are shown: from a little before the first trained one. `trained [S]` bool."""
    length = len(trained)
    first = int(trained.float().argmax()) if bool(trained.any()) else 0
    first = max(0, min(first - BEFORE, length - MOST_TOKENS))
    return slice(first, min(length, first + MOST_TOKENS))


def spread(layers: Sequence[int], most: int = 3) -> list[int]:
    """The first, the last, and those evenly between, `most` in all."""
    if len(layers) <= most:
        return list(layers)
    return [layers[round(i * (len(layers) - 1) / (most - 1))] for i in range(most)]


def layer_picture(merge: HeadMerge, student: Signals, teacher: Signals, window: slice) -> LayerPicture:
    """Of a batch of one text without padding. Maps are those of attention at temperature 1, over keys that both models
    can see."""
    ours, theirs = student[QueryKey(merge.layer)], teacher[QueryKey(merge.partner)]
    own, heads = _maps(ours, ours, theirs), _maps(theirs, ours, theirs)
    divergences = _divergences(merge, ours, theirs)
    pictures = []
    for head, group in enumerate(merge.groups):
        shares = merge.mix[0, head, : len(group)].to(heads)
        pictures.append(
            HeadPicture(
                head=head,
                partners=group,
                shares=[float(f"{share:.4g}") for share in shares.tolist()],
                divergence=divergences[head],
                teacher=[as_text(heads[each], window) for each in group],
                merged=as_text(torch.einsum("m,mij->ij", shares, heads[group]), window),
                student=as_text(own[head], window),
            )
        )
    return LayerPicture(merge.layer, merge.partner, pictures)


def as_text(attention: Tensor, window: slice) -> list[str]:
    """Rows of a map `[S,S]`: see `HeadPicture`."""
    rows = []
    for position in range(window.start, window.stop):
        seen = attention[position, : position + 1]
        kept = [seen[: window.start].sum().item(), *seen[window.start :].tolist()]
        rows.append(" ".join(str(round(1000 * share)) for share in kept))
    return rows


def _maps(shown: QueryKeys, ours: QueryKeys, theirs: QueryKeys) -> Tensor:
    """`[H,S,S]`, float64."""
    rule = Rule(shown.scaling, True, shared_window(ours, theirs), shown.softcap)
    return attention_map(shown.query.double(), shown.key.double(), None, rule, torch.float64)[0]


def _divergences(merge: HeadMerge, ours: QueryKeys, theirs: QueryKeys) -> list[float | None]:
    """For each head of the student, mean over the rows that count; None where there are none, or it is not finite."""
    sums = squeezed_kl(
        ours.query,
        ours.key,
        theirs.query,
        theirs.key,
        merge.mix,
        groups=merge.groups,
        student_scaling=ours.scaling,
        teacher_scaling=theirs.scaling,
        weights=merge.counted.float(),
        window=shared_window(ours, theirs),
        student_softcap=ours.softcap,
        teacher_softcap=theirs.softcap,
    )[0]
    rows = int(merge.counted.sum())
    return [total / rows if rows and math.isfinite(total) else None for total in sums.tolist()]
