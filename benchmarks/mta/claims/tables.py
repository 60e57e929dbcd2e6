"""What notes on the paper report, compared with itself. The numbers are those of `papers/mta`."""

from functools import cache

from findings import Finding

from stillroom.reproduce.catalog import catalog
from stillroom.reproduce.experiment import read_experiment

AVERAGE = "average Rouge-L of four sets"
PAIRS = ("bases", "bases_qwen", "bases_opt", "fdd", "fdd_qwen", "fdd_opt")


def findings() -> list[Finding]:
    return [plug_in(), components(), granularity(), weights(), depth(), temperature(), on_policy()]


@cache
def reported(name: str) -> dict[str, float]:
    path = next(entry.path for entry in catalog() if entry.name == f"mta/{name}")
    published = read_experiment(path, "paper").published
    assert published is not None
    return {row: values[AVERAGE] for row, values in published.rows.items()}


def plug_in() -> Finding:
    rows = []
    for name in PAIRS:
        table = reported(name)
        for base in [row for row in table if f"{row} with MTA" in table]:
            with_mta = table[f"{base} with MTA"]
            rows.append(
                {
                    "pair": name,
                    "base": base,
                    "alone": table[base],
                    "with MTA": with_mta,
                    "gain": with_mta - table[base],
                }
            )
    gains = [float(row["gain"]) for row in rows]
    return Finding(
        "plug-in",
        "MTA consistently outperforms the baselines that it is added to (abstract)",
        "cannot be tested from the paper",
        f"As reported {min(gains):+.2f} to {max(gains):+.2f} over the base in {len(rows)} of {len(rows)} "
        f"cases, {sum(gains) / len(gains):+.2f} "
        "on average; no spread is reported.",
        {"table": rows},
    )


def components() -> Finding:
    table, base = reported("ablation"), reported("bases")["DistiLLM"]
    hidden, structure, full = table["with hidden states"], table["with structure"], table["MTA"]
    return Finding(
        "components",
        "Both terms contribute: structural alignment and hidden states",
        "holds in part",
        f"As reported over DistiLLM ({base}): hidden states {hidden - base:+.2f}, structure "
        f"{structure - base:+.2f}, both {full - base:+.2f}, "
        f"which is as much as their sum ({hidden + structure - 2 * base:+.2f}) and more.",
        {"table": [{"row": row, "average": value} for row, value in table.items()]},
    )


def granularity() -> Finding:
    layers = reported("granularity")
    full = layers["MTA"]
    return Finding(
        "granularity of layers",
        "The layer-adaptive strategy, words below and phrases above, is what helps",
        "holds in part",
        f"As reported phrases throughout are {full - layers['phrases throughout']:.2f} below it, two layers of words "
        f"{full - layers['two layers of words']:.2f} and words throughout "
        f"{full - layers['words throughout']:.2f}; all of them above the base "
        f"({layers['DistiLLM']}). No spread is reported for what the split adds to phrases alone.",
        {"table": [{"row": row, "average": value} for row, value in layers.items()]},
    )


def weights() -> Finding:
    table = reported("ablation")
    return Finding(
        "weights",
        "Centrality weights matter",
        "holds in part",
        f"As reported without them {table['without weights']}, {table['MTA'] - table['without weights']:.2f} "
        "below: more than leaving out "
        f"hidden states ({table['MTA'] - table['with structure']:.2f}). In the program that run weighs pairs "
        "and tokens alike, and pools "
        "with weights as before.",
        {},
    )


def depth() -> Finding:
    return Finding(
        "layers",
        "Representations are aligned along the trajectory, from low to high layers (abstract)",
        "holds in part",
        "The lowest layer that any script names is at 1/2 of the student's depth for DistiLLM (6 of 12), 14 of "
        "24 for "
        "Qwen and 16 of 24 for OPT. With FDD 4 of 12, 4 of 24 and 16 of 24. For DistiLLM the lower half is "
        "left alone.",
        {},
    )


def temperature() -> Finding:
    return Finding(
        "FDD",
        "FDD with MTA is compared with FDD alone",
        "cannot be tested from the paper",
        "In the program the temperature of FDD is 5 in the file without MTA and 2 in the file with it, so what is "
        "reported for MTA on FDD is not the difference that MTA makes alone.",
        {"alone": 5.0, "with MTA": 2.0},
    )


def on_policy() -> Finding:
    return Finding(
        "on-policy",
        "The base objective is DistiLLM's skew reverse KL",
        "holds in part",
        "All scripts also let the student write (`--student-gen`, adaptive), for FDD too, and none has hard labels "
        "(`kd-ratio 1.0`). How much of the texts the student wrote depends on its loss on held-out text.",
        {},
    )
