"""Maps from the student's width to the teacher's, one for each pair of layers, that start orthogonal."""

from typing import Literal

from torch import nn

from stillroom.core.errors import BadInput


def projectors(
    kind: Literal["trained", "frozen", "none"], width: int, teacher_width: int, count: int
) -> nn.ModuleList:
    """`count` of them, `[...,d]` to `[...,D]`, without bias; frozen ones keep their start.

    `BadInput` where there are to be none and widths differ.
    """
    if kind == "none":
        if width != teacher_width:
            raise BadInput(
                f"projector: none needs models of one width, but the student has {width} and the teacher "
                f"{teacher_width}: set projector: trained or frozen, or cosine_weight: 0"
            )
        return nn.ModuleList(nn.Identity() for _ in range(count))
    maps = nn.ModuleList(nn.Linear(width, teacher_width, bias=False) for _ in range(count))
    for weight in maps.parameters():
        nn.init.orthogonal_(weight)
    return maps.requires_grad_(kind == "trained")
