"""The paper's result tables, recomputed from each other."""

import math
from statistics import mean
from typing import Any

from findings import Finding

TEACHERS = ("350M", "1.3B", "2.7B", "6.7B")

TABLE_1: dict[str, list[tuple[float, float, float]]] = {
    "Teacher": [(56.12, 23.53, 39.83), (67.76, 25.73, 46.75), (73.71, 23.36, 48.54), (79.80, 25.78, 52.79)],
    "SHARP": [(48.35, 19.92, 32.07), (47.62, 21.53, 34.58), (49.09, 20.81, 34.95), (48.55, 20.52, 34.54)],
    "Supervised": [
        (42.02, 18.88, 30.45),
        (42.57, 17.99, 30.28),
        (42.17, 18.69, 30.43),
        (44.87, 18.33, 31.60),
    ],
    "Reverse KD": [
        (46.60, 18.05, 32.33),
        (42.16, 18.15, 30.16),
        (42.17, 18.69, 30.43),
        (48.35, 17.08, 32.72),
    ],
    "Imit KD": [(44.36, 18.35, 31.36), (42.01, 18.41, 30.21), (46.08, 17.46, 31.77), (46.08, 17.28, 31.68)],
    "F-Distill": [(44.21, 17.14, 32.75), (43.98, 19.46, 33.89), (48.58, 17.08, 32.83), (46.02, 17.80, 31.91)],
    "GKD": [(44.96, 17.32, 31.14), (44.17, 18.77, 31.47), (48.35, 16.87, 32.61), (46.03, 16.87, 31.64)],
}
"""(NLG, NLU, AVG) as printed, by teacher."""

NLG, NLU = slice(0, 5), slice(5, 8)
TABLE_9: dict[str, list[list[float]]] = {
    "Teacher": [
        [65.00, 51.09, 61.98, 52.13, 50.84, 26.03, 8.40, 36.19],
        [72.29, 68.86, 74.35, 65.02, 58.30, 26.59, 14.00, 36.60],
        [75.64, 74.43, 80.99, 74.12, 63.39, 24.74, 12.86, 32.47],
        [81.03, 77.38, 84.92, 78.65, 67.01, 27.02, 15.16, 35.17],
    ],
    "SHARP": [
        [55, 48.50, 49.34, 49.16, 49.03, 24.71, 6.98, 28.08],
        [42.06, 48.69, 48.76, 49.12, 49.45, 25.99, 9.60, 29.01],
        [49.21, 50.12, 48.57, 48.84, 48.72, 24.08, 9.10, 29.25],
        [47.09, 49.23, 49.12, 49.10, 48.20, 24.67, 6.45, 30.45],
    ],
    "Supervised": [
        [42.17, 42.70, 38.09, 41.66, 45.50, 24.44, 4.85, 27.36],
        [41.40, 43.56, 41.50, 40.79, 45.62, 22.27, 4.57, 27.13],
        [42.10, 43.21, 38.88, 41.11, 45.55, 22.89, 5.63, 27.56],
        [41.24, 46.49, 42.68, 46.19, 47.76, 23.46, 5.43, 26.10],
    ],
    "Reverse KD": [
        [43.79, 46.87, 46.69, 48.04, 47.60, 22.54, 4.88, 26.73],
        [20.06, 47.97, 46.23, 47.27, 49.25, 23.02, 4.22, 27.21],
        [31.46, 49.11, 47.78, 48.33, 48.21, 16.02, 4.23, 27.38],
        [31.31, 48.49, 47.53, 46.44, 47.00, 23.95, 4.30, 26.73],
    ],
    "Imit KD": [
        [29.88, 45.62, 48.80, 49, 48.50, 24.06, 4.25, 26.73],
        [30.08, 36.37, 47.43, 49.01, 47.17, 23.45, 4.31, 27.47],
        [38.51, 48.50, 48.55, 46.61, 48.21, 22.82, 4.50, 25.07],
        [37.98, 49.00, 48.18, 48.44, 47.01, 22.59, 4.02, 25.23],
    ],
    "F-Distill": [
        [46.22, 48.50, 49.32, 48.93, 48.79, 20.42, 4.50, 26.49],
        [30.70, 48.5, 45.90, 47.55, 47.24, 24.78, 4.71, 27.08],
        [48.04, 50.00, 47.76, 48.61, 47.33, 22.21, 4.40, 24.63],
        [42.34, 46.18, 46.48, 48.27, 46.83, 24.25, 4.03, 25.12],
    ],
    "GKD": [
        [33.09, 48.25, 48.35, 47.93, 47.18, 23.93, 1.42, 26.61],
        [31.01, 46.47, 48.73, 47.11, 47.54, 25.99, 4.42, 25.89],
        [45.72, 49.23, 47.63, 47.84, 46.81, 22.78, 3.42, 26.24],
        [46.11, 49.05, 41.23, 46.44, 47.30, 22.03, 3.53, 25.04],
    ],
}
"""DollyEval, VicunaEval, SelfInst, Koala, WizardLM, MMLU, DROP, BBH as printed, by teacher."""

TABLE_3 = {
    "DPKD": (52.92, 21.5),
    "SpecKD": (61.76, 32.7),
    "DistiLLM-v2": (62.57, 33.6),
    "MiniLLM": (75.23, 44.7),
}
"""Perplexity and relative improvement (%) of SHARP's 41.58 as printed."""

TABLE_6 = {
    "Our Method": (31.47, 21.25, 32.25, 24.01),
    "w/o Token": (34.45, 19.48, 35.14, 20.88),
    "w/o Head": (36.84, 20.25, 36.59, 23.06),
    "w/o Layer": (36.78, 19.48, 37.24, 21.25),
    "w/o Rank Space": (33.9, 20.09, 33.57, 22.9),
    "w/ Single Rank Space": (34.12, 19.39, 35.47, 23.09),
}
"""AlpacaEval and MMLU with OPT-350M, then with OPT-1.3B."""

ROUNDING = 0.011
"""Two numbers of two decimals, rounded up or down, may differ by this much."""

MMLU_QUESTIONS, MBPP_PROBLEMS = 14_042, 500


def cells() -> list[dict[str, Any]]:
    """Every cell of Table 1 beside what Table 9 (NLG, NLU) or its own row (AVG) gives."""
    rows = []
    for method, printed in TABLE_1.items():
        for teacher, (nlg, nlu, average), detail in zip(TEACHERS, printed, TABLE_9[method], strict=True):
            for column, value, expected in (
                ("NLG", nlg, mean(detail[NLG])),
                ("NLU", nlu, mean(detail[NLU])),
                ("AVG", average, (nlg + nlu) / 2),
            ):
                place = {"teacher": teacher, "method": method, "column": column}
                rows.append(place | {"printed": value, "recomputed": expected})
    return rows


def mismatches() -> list[dict[str, Any]]:
    """Cells that do not follow, each with whose value of Table 9 it is, if it is anybody's."""
    known = cells()
    wrong = [row for row in known if abs(row["printed"] - row["recomputed"]) > ROUNDING]
    return [row | {"is the value of": whose(row, known)} for row in wrong]


def whose(wrong: dict[str, Any], known: list[dict[str, Any]]) -> str:
    if wrong["column"] == "AVG":
        return ""
    return ", ".join(
        f"{row['method']} {row['teacher']}"
        for row in known
        if row["column"] == wrong["column"] and abs(row["recomputed"] - wrong["printed"]) <= ROUNDING
    )


def repeated() -> list[str]:
    """Pairs of methods and teachers with the same NLG and NLU in Table 1, or the same NLG."""
    entries = [
        (f"{method} {teacher}", values[:2])
        for method, row in TABLE_1.items()
        for teacher, values in zip(TEACHERS, row, strict=True)
    ]
    return [
        f"{name} = {other} ({'NLG and NLU' if values == others else 'NLG'})"
        for i, (name, values) in enumerate(entries)
        for other, others in entries[:i]
        if values[0] == others[0]
    ]


def best_rival(column: int) -> dict[str, tuple[str, float]]:
    """By teacher: the best other student in a column of Table 1 and SHARP's lead over it, in points."""
    found = {}
    for index, teacher in enumerate(TEACHERS):
        rivals = {m: row[index][column] for m, row in TABLE_1.items() if m not in ("Teacher", "SHARP")}
        best = max(rivals, key=lambda method: rivals[method])
        found[teacher] = (best, round(TABLE_1["SHARP"][index][column] - rivals[best], 2))
    return found


def deviations_from_chance(percent: float, questions: int = MMLU_QUESTIONS, choices: int = 4) -> float:
    """Standard errors between an accuracy in percent and guessing."""
    chance = 1 / choices
    return (percent / 100 - chance) / math.sqrt(chance * (1 - chance) / questions)


def findings() -> list[Finding]:
    return [
        arithmetic(),
        copies(),
        direction(),
        leads(),
        chance(),
        state_of_the_art(),
        ablation(),
        same_cell(),
        code(),
    ]


def arithmetic() -> Finding:
    rows = mismatches()
    return Finding(
        "table 1",
        "Table 1 summarizes Table 9, and AVG is the mean of its NLG and NLU",
        "false",
        f"{len(rows)} of {len(cells())} cells do not follow. SHARP with OPT-350M is printed as NLG 48.35: "
        f"its Table 9 mean is {mean(TABLE_9['SHARP'][0][NLG]):.2f}, and 48.35 is the mean of F-Distill.",
        {"table": rows},
    )


def copies() -> Finding:
    found = repeated()
    return Finding(
        "repeated rows",
        "Rows of Table 1 are results of different methods",
        "false",
        f"Same numbers in different places: {'; '.join(found)}.",
        {"repeated": found},
    )


def direction() -> Finding:
    by_size = [row[0] for row in TABLE_1["Teacher"]]
    vicuna = [row[1] for row in TABLE_9["SHARP"]]
    return Finding(
        "direction",
        "NLG is perplexity, lower is better (5.1.3, Table 9)",
        "false",
        f"Then the largest teacher is the worst ({' < '.join(f'{value:.2f}' for value in by_size)} from "
        "350M to 6.7B) and SHARP, the highest of all students, too. 5.2 gives SHARP a perplexity of 12.4 "
        f"on VicunaEval, Table 9 {min(vicuna):.2f} to {max(vicuna):.2f}.",
        {"teacher NLG": by_size, "SHARP VicunaEval": vicuna},
    )


def leads() -> Finding:
    numbers = {"NLG": best_rival(0), "NLU": best_rival(1), "AVG": best_rival(2)}
    supervised = [round(a[0] - b[0], 2) for a, b in zip(TABLE_1["SHARP"], TABLE_1["Supervised"], strict=True)]
    average = {teacher: f"{lead:+.2f} ({rival})" for teacher, (rival, lead) in numbers["AVG"].items()}
    return Finding(
        "leads",
        "3.3 points over the next best with OPT-350M, 7.23 with OPT-6.7B, up to 8 over supervised KD "
        "(5.1.3); 5.2 % and 7.2 % (abstract)",
        "false",
        f"By Table 1 the lead over the next best AVG is {average['350M']} and {average['6.7B']}; over "
        f"supervised KD in NLG {', '.join(f'{lead:+.2f}' for lead in supervised)}. At 350M F-Distill and "
        "Reverse KD have the higher AVG.",
        numbers | {"NLG over supervised KD": supervised},
    )


def chance() -> Finding:
    scores = {m: [row[5] for row in rows] for m, rows in TABLE_9.items() if m != "Teacher"}
    below = {
        f"{method} {teacher}": round(deviations_from_chance(score), 1)
        for method, row in scores.items()
        for teacher, score in zip(TEACHERS, row, strict=True)
    }
    worst = min(below, key=lambda name: below[name])
    over = [name for name, value in below.items() if value > 2]
    return Finding(
        "MMLU",
        "SHARP keeps 'robust performance in NLU tasks' (5.1.3); MMLU of 16 to 26 % (Tables 1, 6-9)",
        "cannot be tested from the paper",
        f"Guessing gives 25 % ± {25 * math.sqrt(3 / MMLU_QUESTIONS):.2f} on the {MMLU_QUESTIONS:,} "
        f"questions of the full test. Of {len(below)} students {len(over)} are more than two standard "
        f"errors above it; {worst} lies {-below[worst]:.0f} below, which guessing does not: it points at "
        "answers that were not parsed.",
        {"standard errors from chance": below},
    )


def state_of_the_art() -> Finding:
    ours = 41.58
    rows = [
        {"method": name, "perplexity": ppl, "printed %": printed, "recomputed %": 100 * (ppl - ours) / ppl}
        for name, (ppl, printed) in TABLE_3.items()
    ]
    return Finding(
        "table 3",
        "41.58 against DPKD's 52.92 is 21.5 % better, with Llama 3 70B and 'Llama 2 1B' (Table 3, 5.3)",
        "cannot be tested from the paper",
        f"{rows[0]['recomputed %']:.1f} %; the other three percentages are right. There is no Llama 2 "
        "with 1B parameters, and Llama 3 has another vocabulary (128,256 tokens) than Llama 2 (32,000): "
        "neither logits nor attention maps line up.",
        {"table": rows},
    )


def ablation() -> Finding:
    without = {name: row for name, row in TABLE_6.items() if name.startswith("w/o") and "Rank" not in name}
    worst = [max(without, key=lambda name: without[name][0]), max(without, key=lambda name: without[name][2])]
    lowest = min(row[1] for row in without.values())
    tied = [name for name, row in without.items() if row[1] == lowest]
    drop = [round(TABLE_6["Our Method"][i] - TABLE_6["w/ Single Rank Space"][i], 2) for i in (1, 3)]
    return Finding(
        "table 6",
        "Layer attention is crucial for generation, token attention for reasoning; one rank space costs "
        "1.86 and 0.92 (5.6)",
        "cannot be tested from the paper",
        f"The drops are right ({drop[0]}, {drop[1]}). The worst AlpacaEval is {worst[0]} with OPT-350M, "
        f"{worst[1]} with OPT-1.3B; the worst MMLU with OPT-350M is shared by {' and '.join(tied)}. One "
        "run each, no spread.",
        {"worst AlpacaEval": worst, "worst MMLU, OPT-350M": tied, "drops": drop},
    )


def same_cell() -> Finding:
    """OPT-350M to OPT-125M with d = 384, wherever it is printed."""
    rows = [
        {"where": "Table 6, AlpacaEval", "NLG": 31.47, "MMLU": 21.25},
        {"where": "Table 7, DollyEval, d = 384", "NLG": 31.5, "MMLU": 21.3},
        {"where": "Table 8, Gram-Schmidt", "NLG": None, "MMLU": 21.3},
        {"where": "Table 9, DollyEval", "NLG": 55.0, "MMLU": 24.71},
    ]
    return Finding(
        "one setting",
        "OPT-350M to OPT-125M at the chosen setting (Tables 6-9)",
        "false",
        "Table 7's DollyEval is Table 6's AlpacaEval; Table 9 has 55 and 24.71 for the same pair. Table "
        "8's score for Gram-Schmidt is that of the method which everywhere else starts from QR.",
        {"table": rows},
    )


def code() -> Finding:
    error = 100 * math.sqrt(0.05 * 0.95 / MBPP_PROBLEMS)
    return Finding(
        "table 5",
        "SHARP is superior at all student sizes on MBPP, 2.5x at 0.5B (5.5)",
        "false",
        f"MiniLLM has the same 5 % at 0.5B in the table. The standard error of 5 % on {MBPP_PROBLEMS} "
        f"problems is {error:.1f} points; Qwen3-Coder-7B, 3B, 1.5B and 0.5B do not exist (Qwen2.5-Coder "
        "does).",
        {"standard error, points": error},
    )
