"""What the paper says about its own tables and settings, compared with what they say.

Tables 2, 3 and 6-10 are pictures in the version at hand; of these only what the text repeats can be looked at.
"""

from findings import Finding

SETS = ("DollyEval", "SelfInst", "VicunaEval", "S-NI", "UnNI")
TABLE_5 = {
    "MiniLLM": (25.4, 14.6, 17.7, 27.4, 31.3),
    "FD + projector": (25.8, 15.2, 17.6, 27.3, 31.4),
    "FD + self-correlation": (25.9, 15.2, 15.8, 26.8, 31.7),
    "VkD": (26.0, 14.9, 17.7, 27.1, 31.0),
    "SHD": (26.2, 15.2, 17.7, 28.1, 32.2),
    "SHD + head matching": (26.3, 15.3, 18.2, 28.1, 32.3),
}
TABLE_4 = {"baseline": 74.43, "SHD": 75.38, "ViTKD+NKD": 77.79, "ViTKD+NKD+SHD": 78.21}


def findings() -> list[Finding]:
    return [
        table_5(),
        spread(),
        table_4(),
        widths(),
        equal_heads(),
        glue(),
        pairing(),
        depth(),
        flexibility(),
        text(),
        teachers(),
        misfit(),
    ]


def lead(method: str) -> list[float]:
    """By how much SHD is ahead of a method, set by set."""
    return [round(a - b, 1) for a, b in zip(TABLE_5["SHD"], TABLE_5[method], strict=True)]


def table_5() -> Finding:
    rows = [
        {"SHD minus": name} | dict(zip(SETS, lead(name), strict=True)) for name in TABLE_5 if name != "SHD"
    ]
    ties = [
        f"{name} on {each}"
        for name in TABLE_5
        for each, d in zip(SETS, lead(name), strict=True)
        if d == 0 and name != "SHD"
    ]
    return Finding(
        "table 5",
        "SHD surpasses 'those two methods' on all sets except SelfInst, where results are the same (5.2)",
        "holds in part",
        "True of the projector and of self-correlation but for a tie that is not named: equal are "
        + ", ".join(ties)
        + ". The text also counts VkD, where the tie is on VicunaEval. Head matching is ahead of SHD on "
        "four of five sets, by "
        "0.1 to 0.5: more than its text gives it credit for.",
        {"table": rows},
    )


def spread() -> Finding:
    return Finding(
        "spread",
        "0.8 points of Rouge-L over MiniLLM on DollyEval, 'huge' gains on S-NI and UnNI (5.1)",
        "cannot be tested from the paper",
        f"The differences are those of Table 5 ({', '.join(f'{d:+.1f}' for d in lead('MiniLLM'))}). Means "
        "of five seeds of "
        "generation are given, without any spread, for one training each as far as is said; with 80 "
        "questions in VicunaEval "
        "and 242 in SelfInst differences of a few tenths need one.",
        {},
    )


def table_4() -> Finding:
    alone = TABLE_4["SHD"] - TABLE_4["baseline"]
    beside = TABLE_4["ViTKD+NKD+SHD"] - TABLE_4["ViTKD+NKD"]
    return Finding(
        "table 4",
        "SHD alone adds 0.95 % without logits, and 0.42 % to ViTKD + NKD (5.1, 5.2)",
        "holds",
        f"As printed: {alone:.2f} and {beside:.2f} points of accuracy. The measurements are of images, "
        "which this package "
        "does not train.",
        {"alone": alone, "beside": beside},
    )


def widths() -> Finding:
    return Finding(
        "widths",
        "GPT-3's width, 12,288, is almost 20 times that of GPT-3 Small (Observation 2)",
        "false",
        f"GPT-3 Small has 768: {12288 / 768:.0f} times.",
        {"ratio": 12288 / 768},
    )


def equal_heads() -> Finding:
    return Finding(
        "equal heads",
        "BabyLLaMA pre-training improves by SHD with 'one teacher's attention map' (5.1, appendix)",
        "cannot be tested from the paper",
        "The teachers of BabyLLaMA are GPT-2 with 705 M (16 heads) and LLaMA with 360 M (8 heads); the "
        "student with 58 M has 8. "
        "Which teacher is not said: with LLaMA there is nothing to squeeze, and 24 to 16 layers is no whole "
        "number for either. "
        "Our recipes take GPT-2.",
        {},
    )


def glue() -> Finding:
    return Finding(
        "SuperGLUE",
        "Table 2 reports SuperGLUE: SST-2, MRPC, QQP, MNLI-mm (5.1)",
        "false",
        "These four are tasks of GLUE and none is in SuperGLUE. BabyLLaMA's own evaluation mixes tasks of "
        "both under "
        "'(Super)GLUE'. Also: batch 256, where BabyLLaMA's student has 32, 'following all settings'.",
        {},
    )


def pairing() -> Finding:
    return Finding(
        "pairs",
        "25 heads of GPT-2 XL are squeezed to 16, and 'any number' is reached progressively (4.2, appendix)",
        "cannot be tested from the paper",
        "Nine pairs and seven single heads, or other groups: not said, nor in which order, nor which "
        "student head gets which. "
        "40 to 32 and 25 to 20 likewise. Here: neighbors, larger groups first, or matched by `stillroom "
        "match-heads`.",
        {},
    )


def depth() -> Finding:
    return Finding(
        "depth",
        "With 48 and 24 layers, the student's 4th layer follows the teacher's 8th (5)",
        "cannot be tested from the paper",
        "Nothing else is said: 48 to 36, 40 to 32 and 28 to 12 are no whole ratios. Here ceil(l L_T / L_S), "
        "which gives 8 for 4 and "
        "always ends at the teacher's last layer.",
        {},
    )


def flexibility() -> Finding:
    return Finding(
        "flexibility",
        "SHD aligns models with different numbers of heads, for any architecture (abstract, 1)",
        "holds in part",
        "From more heads to fewer, and with grouped queries as well (maps are per query head, X per key "
        "head). A student with "
        "more heads than its teacher has no merged map to follow. Rotary embeddings and biases are inside "
        "the maps; attention sinks "
        "that are no token leave rows that do not sum to one, and windows of different sizes different "
        "supports.",
        {},
    )


def text() -> Finding:
    return Finding(
        "text",
        "SHD is added to MiniLLM's training loss (4.3, appendix)",
        "cannot be tested from the paper",
        "MiniLLM has two losses on two kinds of text: a policy gradient on rollouts of the student mixed "
        "with the teacher, and "
        "cross-entropy on documents. On which of them maps are compared is not said, nor whether on prompts "
        "(Figure 1 keeps "
        "responses only).",
        {},
    )


def teachers() -> Finding:
    return Finding(
        "teachers",
        "MDTv2-XL/2 and MDTv2-B/2 teach S/2 (5.1); DeiT3-small has 80.69 % (Table 4)",
        "cannot be tested from the paper",
        "The appendix names MDT-B/2 only. 80.69 is neither DeiT3-small's published accuracy trained on "
        "ImageNet-1k (81.4) nor that with "
        "ImageNet-21k (83.1), which is ViTKD's teacher. SelfInst's teacher (14.3) is below its MiniLLM "
        "student (14.6).",
        {},
    )


def misfit() -> Finding:
    return Finding(
        "self-correlation",
        "Previous work distills Cor = F F^T / (||F|| ||F||) (Eq 12), the 'Gram matrix F^T F' (1)",
        "cannot be tested from the paper",
        "F F^T is N x N and can be compared between widths, F^T F is D x D and cannot. One norm for all "
        "tokens or one for "
        "each, and which similarity: not said. `hidden.self_correlation` has both norms and both "
        "similarities.",
        {},
    )
