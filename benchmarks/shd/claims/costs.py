"""What alpha takes, counted in multiplications, and what has to be there to compute it."""

from typing import Any

from findings import Finding


def findings() -> list[Finding]:
    return [complexity(), in_passing(), parameters()]


def operations(length: int, head: int, width: int) -> dict[str, float]:
    """Floating-point operations for one pair of heads; maps and A_i V_i of causal attention count as full "
    "squares."""
    attention = 2 * (2 * length**2 * head + 2 * length**2 * head)  # Q K^T and A V of two heads
    printed = 2 * 2 * length * head * width + 2 * 2 * length**2 * width  # X_i, then (A_1 - A_2) X_i
    products = 2 * 2 * length**2 * head + 3 * 2 * length * head**2  # A_1 V_2, A_2 V_1; three inner products
    return {"attention": attention, "with X of N x D": printed, "with inner products": products}


def complexity() -> Finding:
    rows: list[dict[str, Any]] = []
    for name, head, width in (("GPT-2 XL", 64, 1600), ("LLaMA 13B", 128, 5120)):
        for length in (512, 2048):
            found = operations(length, head, width)
            share = {key: found[key] / found["attention"] for key in found if key != "attention"}
            rows.append({"model": name, "N": length, "attention, GFLOP": found["attention"] / 1e9} | share)
    return Finding(
        "complexity",
        "SHD takes O(N^2); most of its intermediate results are there already (appendix)",
        "holds in part",
        f"As Eq 7 is written it is O(N^2 D): {rows[0]['with X of N x D']:.0f} times the pair's own "
        "attention in GPT-2 XL, "
        f"{rows[2]['with X of N x D']:.0f} in LLaMA 13B. With X = V W_O and inner products of W_O, which "
        "are constant, it is "
        f"O(N^2 d), like attention, and {rows[0]['with inner products']:.0%} of it (A_1 V_2 and A_2 V_1 are "
        "the new products).",
        {"table": rows},
    )


def in_passing() -> Finding:
    return Finding(
        "maps",
        "The time influence is negligible (appendix, Table 9)",
        "holds in part",
        "Compared with training that keeps all maps already: SHD as described needs eager attention in both "
        "models, where "
        "fused attention keeps none. The kernels here need no map (`squeeze_weights`, `squeezed_kl`); what "
        "a step costs "
        "with them is measured.",
        {},
    )


def parameters() -> Finding:
    return Finding(
        "parameters",
        "SHD adds no trainable parameters (abstract, 6)",
        "holds",
        "`attention.squeeze_heads` has none: shares come from a closed form, without gradient.",
        {"trainable": 0},
    )
