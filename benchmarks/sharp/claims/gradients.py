"""Gradient interference: Definition 1, Lemma 1, Proposition 1, Theorem 1, and what is true instead."""

from collections.abc import Callable
from typing import Any

import torch
from findings import Finding
from torch import Tensor

from claims.frames import gaussian, independent, joint


def interference(first: Tensor, second: Tensor) -> float:
    """Definition 1: one minus the cosine. 0 aligned, 1 orthogonal, 2 opposed."""
    return 1 - cosine(first, second)


def cosine(first: Tensor, second: Tensor) -> float:
    return float((first * second).sum() / (first.norm() * second.norm()))


def lemma_sides(gradients: Tensor) -> tuple[float, float]:
    """Both sides of Eq 2 per unit of learning rate, all weights one, for linear losses with these gradients `[n,P]`.

    For linear losses the progress is exactly the squared norm of the summed gradient.
    """
    count = len(gradients)
    right = 0.0
    for i, gradient in enumerate(gradients):
        others = sum(interference(gradient, gradients[j]) for j in range(count) if j != i)
        right += float(gradient.square().sum()) * (1 - others / count)
    return float(gradients.sum(dim=0).square().sum()), right


def equation_13(gradients: Tensor) -> dict[str, float]:
    """||sum_i g_i||^2, Eq 13 as printed, and Eq 13 with the dropped sum of ||g_i|| ||g_j||."""
    norms = gradients.norm(dim=1)
    printed, dropped = float(norms.square().sum()), 0.0
    for i in range(len(gradients)):
        for j in range(len(gradients)):
            if i != j:
                product = float(norms[i] * norms[j])
                printed -= product * interference(gradients[i], gradients[j])
                dropped += product
    return {
        "true": float(gradients.sum(dim=0).square().sum()),
        "printed": printed,
        "mended": printed + dropped,
    }


def pair_ratio(losses: int, spaces: int) -> float:
    """The proof's own ratio of interfering pairs: (n - R) / (R (n - 1))."""
    return (losses - spaces) / (spaces * (losses - 1))


def cosine_loss(projected: Tensor, target: Tensor) -> Tensor:
    return (1 - torch.cosine_similarity(projected, target, dim=-1)).mean()


def worst_rotation(rows: int, seed: int = 0) -> tuple[float, float]:
    """||W_1^T W_2||_F and cos(grad W_1, grad W_2) after W_2 was turned within its own subspace.

    L^g depends on the subspace alone, so turning changes no loss and no overlap; the turn is the one that
    aligns the gradients best (Procrustes). Student and teacher features are shared by both granularities.
    """
    generator = torch.Generator().manual_seed(seed)
    student, teacher = gaussian(rows, 48, generator), gaussian(rows, 48, generator)
    frames = [frame.requires_grad_() for frame in joint(2, 16, 48, generator)]
    loss = sum(cosine_loss(student @ frame, teacher @ frame) for frame in frames)
    first, second = torch.autograd.grad(torch.as_tensor(loss), frames)
    left, _, right = torch.linalg.svd(second.T @ first)
    turned = (frames[1].detach() @ left @ right).requires_grad_()
    (gradient,) = torch.autograd.grad(cosine_loss(student @ turned, teacher @ turned), turned)
    return float((frames[0].T @ turned).detach().norm()), cosine(first, gradient)


def shared_trunk(
    frames: list[Tensor], own_features: bool, opposed: bool, generator: torch.Generator
) -> tuple[float, float]:
    """cos of two granularities' gradients with respect to their features H, and to the parameters before them.

    H^g = tanh(x A) B^g with 8 rows of width D; the B are one and the same, or each granularity's own. Targets are
    random, or, if `opposed`, one asks the trunk tanh(x A) for a direction and the other for its opposite.
    """
    width = len(frames[0])
    inputs, wanted = gaussian(8, 24, generator), gaussian(8, 32, generator)
    parameters = (gaussian(24, 32, generator) / 5).requires_grad_()
    maps = [gaussian(32, width, generator) / 6 for _ in range(2)]
    if not own_features:
        maps[1] = maps[0]
    features = [torch.tanh(inputs @ parameters) @ each for each in maps]
    targets = (
        [wanted @ maps[0], -wanted @ maps[1]]
        if opposed
        else [gaussian(8, width, generator) for _ in range(2)]
    )
    at_features, at_parameters = [], []
    for hidden, frame, target in zip(features, frames, targets, strict=True):
        loss = cosine_loss(hidden @ frame, target @ frame)
        found = torch.autograd.grad(loss, (hidden, parameters), retain_graph=True)
        at_features.append(found[0])
        at_parameters.append(found[1])
    return cosine(*at_features), cosine(*at_parameters)


def findings() -> list[Finding]:
    return [
        definition(), effective_size(), lemma(), dropped_term(), theorem(), proposition(), isolation(), shared(),
        independence(), smoothness(),
    ]  # fmt: skip


def definition() -> Finding:
    gradient, other = torch.eye(4, dtype=torch.float64)[:2]
    values = {"aligned": interference(gradient, gradient), "orthogonal": interference(gradient, other)}
    values |= {"opposed": interference(gradient, -gradient), "cosine 0.68": 1 - 0.68}
    return Finding(
        "definition",
        "Orthogonal projections reduce the interference I = 1 - cos by 95 % (4.1), below 1 % (4.6), "
        "threefold (Thm 1)",
        "false",
        f"I is {values['aligned']:.0f} for aligned, {values['orthogonal']:.0f} for orthogonal and "
        f"{values['opposed']:.0f} for opposed gradients. The cosine of 0.68 called 'substantial "
        f"interference' is I = {values['cosine 0.68']:.2f}; making the gradients orthogonal raises it to "
        "1.",
        values,
    )


def effective_size() -> Finding:
    """Length of the sum of unit gradients with one cosine between all pairs, over the sum of their
    lengths."""
    kept = {n: ((n + n * (n - 1) * 0.68) ** 0.5 / n, n**-0.5) for n in (2, 3)}
    return Finding(
        "effective size",
        "Interference of 0.68 'reduces the effective gradient magnitude by approximately 68 %' (4.6)",
        "false",
        f"Three unit gradients with a cosine of 0.68 add up to {kept[3][0]:.1%} of the sum of their "
        f"lengths; orthogonal ones, as SHARP wants them, to {kept[3][1]:.1%}.",
        {f"{n} gradients": {"cosine 0.68": a, "orthogonal": b} for n, (a, b) in kept.items()},
    )


def lemma(draws: int = 200) -> Finding:
    generator = torch.Generator().manual_seed(0)
    equal = lemma_sides(gaussian(1, 10, generator).repeat(2, 1))
    random = [lemma_sides(gaussian(3, 100, generator)) for _ in range(draws)]
    violated = sum(left > right for left, right in random) / draws
    ratio = sum(left / right for left, right in random) / draws
    return Finding(
        "lemma",
        "Lemma 1: progress is at most eta sum_i lambda_i^2 ||g_i||^2 (1 - mean interference)",
        "false",
        f"Two equal gradients make {equal[0] / equal[1]:.0f} times the 'upper bound'. Three random "
        f"gradients of 100 numbers exceed it in {violated:.0%} of {draws} draws, by a factor of "
        f"{ratio:.1f} on average. The proof starts from a lower bound (Eq 11-12).",
        {"equal gradients": equal[0] / equal[1], "violated": violated, "mean factor": ratio},
    )


def dropped_term() -> Finding:
    found = equation_13(gaussian(2, 20, torch.Generator().manual_seed(0)))
    return Finding(
        "equation 13",
        "||sum g_i||^2 = sum ||g_i||^2 - sum_{i != j} ||g_i|| ||g_j|| I_ij (Eq 13)",
        "false",
        f"cos = 1 - I leaves a sum of ||g_i|| ||g_j|| that is missing: true {found['true']:.2f}, printed "
        f"{found['printed']:.2f}, with the missing sum {found['mended']:.2f}.",
        found,
    )


def theorem() -> Finding:
    ratios = {f"n={n}": pair_ratio(n, 3) for n in (3, 9, 30, 3000)}
    return Finding(
        "theorem 1",
        "Theorem 1: interference falls by a factor of |G| (Eq 16; the proof says R)",
        "false",
        "The proof measures E[max(0, -I)], which is zero for any gradients, as I >= 0. Its ratio of "
        f"pairs (n - R) / (R (n - 1)) is {ratios['n=3']:.0f} for the paper's n = R = 3, "
        f"{ratios['n=9']:.2f} for n = 9; one third is its limit for n without end, and it counts pairs, "
        "not what happens between them.",
        ratios,
    )


def proposition() -> Finding:
    one, eight = worst_rotation(1), worst_rotation(8)
    return Finding(
        "proposition 1",
        "|<grad_Wi L_i, grad_Wj L_j>| <= eps ||grad_Wi L_i|| ||grad_Wj L_j|| (Eq 7)",
        "false",
        f"||W_1^T W_2||_F = {one[0]:.0e}, and yet the cosine of the two gradients is {one[1]:.2f} for one "
        f"sample, {eight[1]:.2f} for eight, after W_2 was turned within its own subspace, which changes "
        "no loss. The two are gradients with respect to different parameters: their inner product says "
        "nothing about interference.",
        {"overlap": one[0], "cosine, 1 sample": one[1], "cosine, 8 samples": eight[1]},
    )


def isolation() -> Finding:
    generator = torch.Generator().manual_seed(0)
    token, head = (each.requires_grad_() for each in independent(2, 8, 12, generator))
    student, teacher = gaussian(4, 12, generator), gaussian(4, 12, generator)
    loss = cosine_loss(student @ token, teacher @ token)
    unused = torch.autograd.grad(loss, head, allow_unused=True)[0] is None
    found = float((token.T @ head).norm().detach())
    return Finding(
        "isolation",
        "dL_token / dW_head = 0 by orthogonality (B.2.1 claim 3, B.2.2, Eq 14)",
        "holds",
        f"It is zero because W_head does not occur in L_token: so it is at an overlap of {found:.2f} too. "
        "It does not concern the parameters that the granularities share, the student's.",
        {"overlap": found, "W_head occurs in L_token": not unused},
    )


def shared(draws: int = 100, size: int = 16, width: int = 48) -> Finding:
    """Frames made three ways, features that are shared or not, targets that are unrelated or opposed."""
    makers: dict[str, Callable[[torch.Generator], list[Tensor]]] = {
        "joint QR": lambda generator: joint(2, size, width, generator),
        "independent QR": lambda generator: independent(2, size, width, generator),
        "one frame for both": lambda generator: independent(1, size, width, generator) * 2,
    }
    rows, at = [], {}
    for own_features in (False, True):
        for opposed in (False, True):
            for name, make in makers.items():
                generator = torch.Generator().manual_seed(0)
                found = [
                    shared_trunk(make(generator), own_features, opposed, generator) for _ in range(draws)
                ]
                hidden, parameters = torch.tensor(found, dtype=torch.float64).T
                row = {
                    "features": "own" if own_features else "shared", "targets": "opposed" if opposed else "unrelated",
                    "frames": name, "cos at H": float(hidden.mean()), "|cos| at H": float(hidden.abs().mean()),
                    "cos at theta": float(parameters.mean()), "|cos| at theta": float(parameters.abs().mean()),
                    "largest |cos| at theta": float(parameters.abs().max()),
                }  # fmt: skip
                rows.append(row)
                at[row["features"], row["targets"], name] = row
    return Finding(
        "shared features",
        "Orthogonal rank spaces prevent gradient interference (abstract, 4.3, 4.6)",
        "holds in part",
        shared_sentence(at),
        {"table": rows},
    )


def shared_sentence(at: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    def theta(features: str, targets: str, frames: str, key: str = "cos at theta") -> str:
        return f"{at[features, targets, frames][key]:.2f}"

    exact = at["shared", "unrelated", "joint QR"]["|cos| at H"]
    absolute = theta("shared", "unrelated", "joint QR", "|cos| at theta")
    most = theta("shared", "unrelated", "joint QR", "largest |cos| at theta")
    shared_cosines = [
        theta("shared", "opposed", frames) for frames in ("joint QR", "independent QR", "one frame for both")
    ]
    own = [theta("own", "opposed", frames) for frames in ("joint QR", "independent QR", "one frame for both")]
    return (
        "Exact at H, if all granularities read one shared H: grad_H L^g lies in the column space of W_g "
        f"(mean |cos| {exact:.0e}). At the student's parameters g_i^T W_i^T J J^T W_j g_j remains (mean "
        f"|cos| {absolute}, at most {most}). Opposed targets on a shared H: mean cosine "
        f"{shared_cosines[0]} with orthogonal frames, {shared_cosines[1]} with independent ones, "
        f"{shared_cosines[2]} with one frame for both. With features of its own per granularity, as in Eq "
        f"17-19, frames make no difference: {own[0]}, {own[1]}, {own[2]}."
    )


def independence() -> Finding:
    """<Z_i, Z_j> = tr(W_i^T H_i^T H_j W_j): the middle factor does not go away."""
    generator = torch.Generator().manual_seed(0)
    features = [gaussian(8, 48, generator) for _ in range(2)]
    frames = joint(2, 16, 48, generator)
    projected = [h @ w for h, w in zip(features, frames, strict=True)]
    overlap = float((frames[0].T @ frames[1]).norm())
    inner = float((projected[0] * projected[1]).sum())
    return Finding(
        "inner product",
        "W_i^T W_j = 0 implies <Z_i, Z_j> = 0, 'linear independence' (B.2.1, claim 1)",
        "false",
        f"tr(W_i^T H_i^T H_j W_j) keeps the factor H_i^T H_j: {inner:.2f} at an overlap of {overlap:.0e}.",
        {"inner product": inner, "overlap": overlap, "cosine": cosine(*projected)},
    )


def smoothness() -> Finding:
    """The gradient of 1 - cos grows without bound as the projected features shrink."""
    generator = torch.Generator().manual_seed(0)
    direction, target = gaussian(1, 16, generator), gaussian(1, 16, generator)
    norms = {}
    for size in (1.0, 1e-2, 1e-4):
        point = (size * direction / direction.norm()).requires_grad_()
        norms[size] = float(torch.autograd.grad(cosine_loss(point, target), point)[0].norm())
    return Finding(
        "convergence",
        "Proposition 2 (appendix C): SGD on the SHARP objective converges at O(1/sqrt(T)) under "
        "Lipschitz gradients",
        "cannot be tested from the paper",
        "That is the theorem for any smooth loss; nothing of SHARP enters. The assumption fails near Z = "
        f"0: the gradient of 1 - cos has norm {norms[1.0]:.2f}, {norms[1e-2]:.0f}, {norms[1e-4]:.0f} at "
        "||Z|| = 1, 0.01, 0.0001.",
        {f"||Z||={size:g}": norm for size, norm in norms.items()},
    )
