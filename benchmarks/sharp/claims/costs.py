"""Speed, memory, parameters and capacity: the paper's arithmetic."""

import math

from findings import Finding

WIDTH, SIZE, LENGTH, GRANULARITIES = 768, 384, 512, 3
OPT_125M = 125_000_000
TABLE_4 = {
    "Standard KD": (39.66, 955.1, 54, 1.0),
    "SHARP": (41.13, 945.4, 23, 2.35),
    "MiniLLM": (41.99, 947.0, 68, 0.79),
    "Layerwise KD": (128.33, 1150.0, 47, 1.15),
}
"""Seconds, peak MB, steps to a loss of 0.8, relative speed-up as printed."""
TABLE_7_MEMORY = {128: 912, 256: 928, 384: 945, 512: 967, 768: 1012}


def parameters(rank_spaces: int = 1) -> dict[str, int]:
    """Trainable numbers beside the student: what 4.4 counts, and the rest of what the paper describes."""
    counts = {
        "W": GRANULARITIES * rank_spaces * WIDTH * SIZE,
        "phi (Eq 17-19)": GRANULARITIES * (LENGTH * WIDTH + WIDTH),
        "MHA and output (Algorithm 4)": 4 * (SIZE * SIZE + SIZE) + SIZE * WIDTH + WIDTH,
    }
    return counts | {"all": sum(counts.values())}


def capacity_ratio(rho: float, epsilon: float = 0.01) -> float:
    """4.6: |G| d (1 - eps) / (D (1 - rho))."""
    return GRANULARITIES * SIZE * (1 - epsilon) / (WIDTH * (1 - rho))


def log_ball_volume(dimension: int) -> float:
    """Natural logarithm of the volume of the unit ball."""
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)


def findings() -> list[Finding]:
    return [extra_parameters(), overhead(), speed(), layerwise(), memory(), capacity(), theorem_2(), batch()]


def extra_parameters() -> Finding:
    one, three = parameters(), parameters(3)
    return Finding(
        "parameters",
        "SHARP adds 0.9 M parameters (4.4, 4.5)",
        "false",
        f"0.9 M is the three W alone ({one['W']:,}). With phi ({one['phi (Eq 17-19)']:,}) and the "
        f"integration ({one['MHA and output (Algorithm 4)']:,}) it is {one['all'] / 1e6:.1f} M, with the "
        f"three rank spaces of A.4 {three['all'] / 1e6:.1f} M.",
        {"R = 1": one, "R = 3": three},
    )


def overhead() -> Finding:
    projections = 2 * GRANULARITIES * WIDTH * SIZE
    integration = 2 * 9 * SIZE * SIZE
    student = 2 * OPT_125M * LENGTH
    share = (projections + integration) / student
    return Finding(
        "overhead",
        "The overhead of 25-30 % comes primarily from the projections (4.4), or is 3.7 % (5.4)",
        "false",
        f"Projections and integration are {(projections + integration) / 1e6:.1f} MFLOP a sequence, the "
        f"student's forward pass {student / 1e9:.0f} GFLOP: {share:.0e} of it. What costs is the S x S "
        "maps, O(B L H S^2), which 4.5 counts without H. Table 4's times differ by "
        f"{TABLE_4['SHARP'][0] / TABLE_4['Standard KD'][0] - 1:.1%}.",
        {"projections and integration, FLOP": projections + integration, "student forward, FLOP": student},
    )


def speed() -> Finding:
    steps = TABLE_4["SHARP"][2] / TABLE_4["Standard KD"][2]
    saved = {factor: 1 - steps * factor for factor in (1.037, 1.275)}
    return Finding(
        "speed",
        "57.4 % fewer steps, 45 % less time (5.4, Fig 4), 2-3x faster (4.4), 14.3 % faster (C)",
        "false",
        f"Steps: {1 - steps:.1%} fewer. With Table 4's overhead of 3.7 % the time saved is "
        f"{saved[1.037]:.0%}; 45 % needs the other overhead, 27.5 % ({saved[1.275]:.0%}). 14.3 % is a "
        "fourth number. And 'loss 0.8' is another function for each method.",
        {"steps": 1 - steps, "time saved at 3.7 %": saved[1.037], "at 27.5 %": saved[1.275]},
    )


def layerwise() -> Finding:
    base = TABLE_4["Standard KD"]
    rows = [
        {
            "method": name,
            "printed speed-up": printed,
            "in steps": base[2] / steps,
            "in seconds": base[2] * base[0] / (steps * seconds),
        }
        for name, (seconds, _, steps, printed) in TABLE_4.items()
    ]
    return Finding(
        "relative speed-up",
        "Relative speed-up of training (Table 4)",
        "false",
        f"It counts steps only: Layerwise KD's {rows[3]['in steps']:.2f}x is {rows[3]['in seconds']:.2f}x "
        f"in seconds, SHARP's {rows[1]['in steps']:.2f}x is {rows[1]['in seconds']:.2f}x.",
        {"table": rows},
    )


def memory() -> Finding:
    teacher = 7e9 * 2 / 1e6
    students = {"0.5B": 0.5e9 * 16 / 1e6, "125M": OPT_125M * 16 / 1e6}
    return Finding(
        "memory",
        "Peak memory of 945 MB with a 7B teacher (Table 4), 912-1012 MB with OPT-350M (Table 7)",
        "false",
        f"A 7B teacher in 16 bits is {teacher:,.0f} MB of weights; weights, gradient and AdamW state of "
        f"the student alone are {students['0.5B']:,.0f} MB (0.5B) and {students['125M']:,.0f} MB (125M) "
        "in 32 bits. SHARP is also 10 MB below standard KD, to which it adds maps and parameters.",
        {"teacher, MB": teacher, "student and optimizer, MB": students, "Table 7, MB": TABLE_7_MEMORY},
    )


def capacity() -> Finding:
    found = capacity_ratio(0.68)
    needed = 1 - GRANULARITIES * SIZE * 0.99 / (WIDTH * 2.4)
    return Finding(
        "capacity ratio",
        "|G| d (1 - eps) / (D (1 - rho)) is about 2.4 (4.6)",
        "false",
        f"With the paper's rho of 0.68 it is {found:.2f}; 2.4 needs {needed:.2f}. Its numerator counts "
        "1152 dimensions in a space of 768.",
        {"rho 0.68": found, "rho for 2.4": needed},
    )


def theorem_2() -> Finding:
    volumes = {dimension: log_ball_volume(dimension) for dimension in (16, 384, 1152)}
    return Finding(
        "theorem 2",
        "Theorem 2: capacity is Theta(R d), as the logarithm of the volume of a bounded space (B.3)",
        "false",
        "R d independent dimensions need R d <= D: 3 x 384 = 1152 > 768, and three granularities share "
        f"the D. The logarithm of the unit ball's volume is {volumes[16]:.1f}, {volumes[384]:.0f}, "
        f"{volumes[1152]:.0f} for 16, 384, 1152 dimensions: it falls.",
        {f"log volume, {dimension}": value for dimension, value in volumes.items()},
    )


def batch() -> Finding:
    return Finding(
        "batch",
        "4 GPUs, 4 sequences each, accumulation over 4 steps (4.5, 5.1.2); an effective batch of 4 (A.6)",
        "false",
        "4 x 4 x 4 = 64.",
        {"product": 64, "A.6": 4},
    )
