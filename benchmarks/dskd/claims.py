"""What the initialization of the projectors promises, one function a claim."""

import torch
from findings import Finding
from torch import Tensor

from dskd.maps import centered_map, fidelity, kept_map, random_map, trained
from dskd.models import Models

STEPS = 60
PUBLISHED_VOCABULARY = 151_936
"""Rows of the head of Qwen1.5, the teacher in the paper's scripts."""


def preserved(models: Models) -> Finding:
    t, s = models.teacher.weight, models.student.weight
    text = models.unseen
    rows = []
    for name, make in (("logits", kept_map), ("logits, centered", centered_map), ("random", random_map)):
        rows.append(fidelity(text.teacher, t, make(t, s), s).row(f"teacher to student, {name}"))
        rows.append(fidelity(text.student, s, make(s, t), t).row(f"student to teacher, {name}"))
    there, back, apart = rows[0], rows[1], rows[4]
    return Finding(
        "preserved",
        "Pseudo-inverse initialization preserves the logits between the spaces",
        "holds in part",
        f"On {len(text.tokens)} held-out response positions the teacher's logits come out {there['logit_error']:.0%} "
        f"off in the student's space (random: {apart['logit_error']:.0%}), and its likeliest token stays the likeliest "
        f"at {there['agreement']:.0%} of them (random: {apart['agreement']:.1%}): the mask of agreement starts by "
        f"leaving out the rest. Back, the student's are {back['logit_error']:.0%} off and {back['agreement']:.0%} "
        "stay.",
        {"table": rows},
    )


def low_rank(models: Models) -> Finding:
    t, s = models.teacher.weight.double(), models.student.weight.double()
    by_head = float((kept_map(t, s) @ s.T - t.T).norm() / t.norm())
    values = torch.linalg.svdvals(t)
    best = float(values[s.shape[1] :].norm() / values.norm())
    return Finding(
        "low rank",
        "The initialization is a low-rank approximation of W^t with non-negligible errors (III-A)",
        "holds",
        f"Of the teacher's head {by_head:.0%} (Frobenius norm) is lost through the student's. Width alone accounts for "
        f"less: the best approximation of rank {s.shape[1]} there is loses {best:.0%}. The rest is that the two heads "
        "order tokens along other directions.",
        {"through the student's head": by_head, f"best of rank {s.shape[1]}": best},
    )


def optimal(models: Models) -> Finding:
    t, s = models.teacher.weight.double(), models.student.weight.double()
    states = models.seen.teacher.double()
    apart = float(_slope(states, t, kept_map(t, s), s) / _slope(states, t, random_map(t, s).double(), s))
    kept, centered = (
        fidelity(models.unseen.teacher, t.float(), make(t, s), s.float()) for make in (kept_map, centered_map)
    )
    return Finding(
        "optimal",
        "W^t W^s+ is the ideal projector (Eq. 6)",
        "holds in part",
        f"For squared errors of logits it is, whatever the text: on {len(states)} positions the slope of that error is "
        f"{apart:.0e} of a random projector's, so no training lowers it. But a softmax does not see the mean of the "
        "logits, on which much of the fit is spent: the same solution for heads without their mean row takes KL to the "
        f"teacher from {kept.kl:.2f} to {centered.kl:.2f} nats, and agreement from {kept.agreement:.0%} to "
        f"{centered.agreement:.0%}.",
        {"slope": apart, "kl": kept.kl, "kl, centered": centered.kl},
    )


def _slope(states: Tensor, source: Tensor, matrix: Tensor, target: Tensor) -> Tensor:
    """Norm of the gradient of the squared error of logits."""
    gram = states.T @ states
    return (gram @ (matrix @ (target.T @ target) - source.T @ target)).norm()


def hard_labels(models: Models) -> Finding:
    t, s = models.teacher.weight, models.student.weight
    labels = (models.seen.teacher @ t.T).argmax(1)
    rows = []
    for name, make in (("logits", kept_map), ("random", random_map)):
        start = make(t, s)
        rows.append(fidelity(models.unseen.teacher, t, start, s).row(f"{name}, at the start"))
        after = trained(start, models.seen.teacher, labels, s, STEPS)
        rows.append(fidelity(models.unseen.teacher, t, after, s).row(f"{name}, {STEPS} steps on hard labels"))
    first, after, _, other = rows
    return Finding(
        "hard labels",
        "The hard-label term keeps the projected teacher consistent with the teacher",
        "holds in part",
        f"Its likeliest token, yes: from {first['agreement']:.0%} of held-out positions to {after['agreement']:.0%} in "
        f"{STEPS} steps of 128 positions, and to {other['agreement']:.0%} from a random start. Its distribution, no: "
        f"KL to the teacher goes from {first['kl']:.2f} to {after['kl']:.2f} nats, as labels sharpen what they fit.",
        {"table": rows},
    )


def top_tokens(models: Models) -> Finding:
    t, s, text = models.teacher.weight, models.student.weight, models.unseen
    counts = torch.bincount(models.seen.tokens, minlength=len(t))
    by_id, by_count = torch.arange(len(t)), counts.argsort(descending=True, stable=True)
    rows = []
    for name, count, order in (
        ("all", len(t), by_id),
        ("first ids", 2048, by_id),
        ("first ids", 1024, by_id),
        ("first ids", 512, by_id),
        ("most frequent", 1024, by_count),
    ):
        there = kept_map(t, s, order[:count])
        rows.append(fidelity(text.teacher, t, there, s).row(f"teacher to student, {name}, {count}"))
        back = kept_map(s, t, order[:count])
        rows.append(fidelity(text.student, s, back, t).row(f"student to teacher, {name}, {count}"))
    whole, part = rows[0], rows[4]
    return Finding(
        "top tokens",
        "Part of the vocabulary (--topk-vocab) reduces the initialization error (help text of the code)",
        "holds in part",
        f"Of logits it does not ({whole['logit_error']:.0%} with all {len(t):,}, {part['logit_error']:.0%} with the "
        f"first 1,024 ids), of distributions it does: KL {whole['kl']:.2f} becomes {part['kl']:.2f} nats, agreement "
        f"{whole['agreement']:.0%} becomes {part['agreement']:.0%}. The first ids of a byte-pair vocabulary are its "
        "frequent tokens, where the probability lies.",
        {"table": rows},
    )


def heads(models: Models) -> Finding:
    rows = []
    cut = PUBLISHED_VOCABULARY * 2.0**-23
    for name, head in (("teacher", models.teacher), ("student", models.student)):
        values = torch.linalg.svdvals(head.weight.double())
        shares = values / values.sum()
        rows.append(
            {
                "": name,
                "width": len(values),
                "rank": int((values > 1e-6 * values[0]).sum()),
                "effective rank": float(torch.exp(-torch.special.xlogy(shares, shares).sum())),
                "largest over smallest": float(values[0] / values[-1]),
                "share of the first direction": float(values[0] ** 2 / values.square().sum()),
                "below the cut-off": int((values < cut * values[0]).sum()),
            }
        )
    return Finding(
        "heads",
        "torch.linalg.pinv of a head in float32 (the code) is its pseudo-inverse",
        "holds",
        f"It is here: with {PUBLISHED_VOCABULARY:,} columns its default drops every singular value below {cut:.1%} of "
        f"the largest, and both heads are of full rank, with {rows[0]['largest over smallest']:.0f} and "
        f"{rows[1]['largest over smallest']:.0f} between largest and smallest: none is dropped. A head with more than "
        f"{1 / cut:.0f} between them would lose directions without a word.",
        {"table": rows, "cut-off": cut},
    )


def numerics(models: Models) -> Finding:
    t, s = models.teacher.weight, models.student.weight
    true = t.double().T @ torch.linalg.pinv(s.double().T)
    gram = (t.T @ s) @ torch.linalg.inv(s.T @ s)
    rows = [
        _difference("Gram matrix, float64 (ours)", kept_map(t, s), true, s),
        _difference("Gram matrix, float32", gram, true, s),
        _difference("SVD, float32 (the code)", t.T @ torch.linalg.pinv(s.T), true, s),
        _difference("stored in bfloat16", true.bfloat16(), true, s),
    ]
    return Finding(
        "numerics",
        "The pseudo-inverse comes from a singular value decomposition of the head (the code)",
        "holds in part",
        f"It need not: a {s.shape[1]} x {s.shape[1]} Gram matrix in float64 gives the same map to "
        f"{rows[0]['map']:.0e}, float32 to {rows[1]['map']:.0e}, the decomposition in float32 to {rows[2]['map']:.0e}. "
        f"Rounded to bfloat16 it changes logits by {rows[3]['logits']:.2%}.",
        {"table": rows},
    )


def _difference(name: str, matrix: Tensor, true: Tensor, head: Tensor) -> dict[str, float | str]:
    """Relative differences of a map, and of the logits that it gives."""
    apart = matrix.double() - true
    logits = (apart @ head.double().T).norm() / (true @ head.double().T).norm()
    return {"": name, "map": float(apart.norm() / true.norm()), "logits": float(logits)}


FINDINGS = {
    "What the maps keep": (preserved, low_rank, optimal, top_tokens),
    "What training makes of them": (hard_labels,),
    "Numbers": (heads, numerics),
}
