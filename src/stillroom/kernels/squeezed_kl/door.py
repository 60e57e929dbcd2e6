"""The door: checks what comes in and picks an engine.

    sum_i weights_i KL(M_i || A_i),   M = sum_m mix_m A_m     A the student's maps, A_m those of the teacher

With one teacher head to each student head it is the plain comparison of maps (MiniLM, MobileBERT); with merged heads
it is what squeezing heads trains on (Bing et al. 2025). "mse" is sum_i weights_i mean_j (M_ij - A_ij)^2: with
weights 1/S the mean over all S x S numbers, those that a causal map never uses included.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from stillroom.core.errors import BadInput
from stillroom.kernels._attention_engine import chosen_engine
from stillroom.kernels._attention_inputs import check_positions, check_query_key
from stillroom.kernels._attention_rows import sampled
from stillroom.kernels._attention_rule import Rule
from stillroom.kernels._head_groups import Groups
from stillroom.kernels.squeezed_kl._closed_forms import CLOSED_FORMS
from stillroom.kernels.squeezed_kl._teacher import MergedTeacher, check_teacher_groups, shares
from stillroom.kernels.squeezed_kl.plain import plain
from stillroom.kernels.squeezed_kl.streaming import streaming

Engine = Callable[[Tensor, Tensor, MergedTeacher, Tensor, Tensor | None, Rule, str], Tensor]


def squeezed_kl(
    student_query: Tensor,
    student_key: Tensor,
    teacher_query: Tensor,
    teacher_key: Tensor,
    mix: Tensor,
    *,
    groups: Groups,
    student_scaling: float,
    teacher_scaling: float,
    weights: Tensor,
    temperature: float = 1.0,
    key_mask: Tensor | None = None,
    window: int | None = None,
    is_causal: bool = True,
    student_softcap: float | None = None,
    teacher_softcap: float | None = None,
    row_fraction: float = 1.0,
    divergence: Literal["kl", "mse"] = "kl",
    impl: Literal["auto", "plain", "streaming", "triton"] = "auto",
) -> Tensor:
    """Weighted sum over query rows of the divergence of merged teacher maps and student maps, `[B,H]`.

    `student_query [B,H,S,d]`, `student_key [B,G,S,d]`, `teacher_query [B,Ht,S,dt]`, `teacher_key [B,Gt,S,dt]`.
    `groups[h]` are the teacher heads merged for student head h and `mix [B,H,k]` their shares, not negative and of
    sum one; what stands behind the length of a group is not used. `weights [B,S]` of the query rows, `key_mask [B,S]`
    true on keys that exist. Query i sees key j if `i - window < j <= i`, in both models; without `is_causal` it sees
    all keys. Logits of both sides are divided by `temperature`, after the softcap where there is one. `row_fraction`
    uses that share of the rows, drawn anew by every call from torch's default generator and re-weighted. "kl" is in
    nats, "mse" a mean over the keys that exist; float32, or float64 where an input is.

    Gradients flow to the student's query and key, once: a second derivative needs "plain". They never flow to the
    teacher, mix or weights. Rows of weight zero, rows that see no key, and masked keys contribute nothing, whatever
    they hold. The arithmetic is float32 or better, under autocast too. "auto" is "triton" on a CUDA device where it
    is installed, else "streaming". Raises `BadInput` where shapes or settings do not fit.
    """
    check_query_key(student_query, student_key)
    check_query_key(teacher_query, teacher_key)
    _check_alike(student_query, teacher_query)
    check_positions(student_query, weights, key_mask)
    check_teacher_groups(groups, student_query.shape[1], teacher_query.shape[1])
    _check_settings(temperature, row_fraction, divergence)
    engine = _engine(impl, student_query, teacher_query)
    student, teacher = (
        Rule(scaling / temperature, is_causal, window, None if cap is None else cap / temperature)
        for scaling, cap in ((student_scaling, student_softcap), (teacher_scaling, teacher_softcap))
    )
    dtype = torch.promote_types(torch.promote_types(student_query.dtype, teacher_query.dtype), torch.float32)
    mix = shares(mix, groups, len(student_query), dtype)
    merged = MergedTeacher(teacher_query.detach(), teacher_key.detach(), mix, groups, teacher)
    weights = weights.detach().to(dtype)
    key_mask = None if key_mask is None else key_mask.bool()
    with torch.autocast(student_query.device.type, enabled=False):
        if row_fraction < 1:
            weights = sampled(weights, row_fraction)
        return engine(student_query, student_key, merged, weights, key_mask, student, divergence)


def _engine(impl: str, student_query: Tensor, teacher_query: Tensor) -> Engine:
    wider = student_query if student_query.dtype == torch.float64 else teacher_query
    chosen = chosen_engine(impl, wider)
    if chosen == "triton":
        from stillroom.kernels.squeezed_kl.triton import triton

        return triton
    return plain if chosen == "plain" else streaming


def _check_alike(student_query: Tensor, teacher_query: Tensor) -> None:
    if student_query.shape[0] != teacher_query.shape[0] or student_query.shape[2] != teacher_query.shape[2]:
        raise BadInput(
            "expected queries of student and teacher with the same B and S, got "
            f"{list(student_query.shape)} and {list(teacher_query.shape)}; both must have read the same tokens."
        )


def _check_settings(temperature: float, row_fraction: float, divergence: str) -> None:
    if not temperature > 0:
        raise BadInput(f"expected a positive attention temperature, got {temperature}; 1 changes nothing.")
    if not 0 < row_fraction <= 1:
        raise BadInput(f"expected row_fraction above 0 and at most 1, got {row_fraction}; 1 uses every row.")
    if divergence not in CLOSED_FORMS:
        raise BadInput(f"expected divergence to be one of {', '.join(CLOSED_FORMS)}, got {divergence!r}.")
