"""What notes on the paper report, compared with itself. The numbers are those of `papers/sra`."""

from functools import cache

from findings import Finding

from stillroom.reproduce.catalog import catalog
from stillroom.reproduce.experiment import read_experiment

AVERAGE = "average Rouge-L of five sets"


def findings() -> list[Finding]:
    return [carried_by_logits(), weights(), pairs(), settings(), selection()]


@cache
def reported(name: str) -> dict[str, float]:
    path = next(entry.path for entry in catalog() if entry.name == f"sra/{name}")
    published = read_experiment(path, "paper").published
    assert published is not None
    return {row: values[AVERAGE] for row, values in published.rows.items()}


def carried_by_logits() -> Finding:
    rows, base = reported("ablation"), reported("results")["DSKD"]
    full, logits, geometry = rows["SRA"], rows["span logits alone"], rows["centers and geometry, no logits"]
    return Finding(
        "what carries it",
        "Centers of mass and the geometric regularizer transfer what token-level methods miss",
        "holds in part",
        f"As reported, of the {full - base:+.2f} over DSKD the logits of spans alone bring {logits - base:+.2f} and "
        f"centers and geometry without them {geometry - base:+.2f}; beside the logits geometry adds "
        f"{rows['with geometry'] - logits:+.2f}, centers {rows['with centers'] - logits:+.2f} and both "
        f"{full - logits:+.2f}.",
        {"table": [{"row": row, "average": value, "over DSKD": value - base} for row, value in rows.items()]},
    )


def weights() -> Finding:
    rows = reported("weighting")
    none = rows["no weights"]
    return Finding(
        "weights",
        "Weighting by attention prioritizes salient spans, in centers and in the loss",
        "cannot be tested from the paper",
        f"As reported weights of tokens in a center alone bring {rows['in centers'] - none:+.2f}, and the "
        "center of one token has "
        f"none to lose: 94 of 100 for this pair. Without any the whole method has {none}, "
        f"{reported('ablation')['span logits alone'] - none:.2f} less than its logits alone and "
        f"{reported('results')['DSKD'] - none:.2f} "
        "less than DSKD: then centers and geometry would do harm.",
        {"table": [{"row": row, "average": value} for row, value in rows.items()]},
    )


def pairs() -> Finding:
    names = ("results", "results_gpt2_340m", "results_gpt2_1.5b", "results_opt_2.7b", "results_tinyllama")
    rows = [{"pair": name} | reported(name) for name in names]
    gains = [float(row["SRA"]) - float(row["DSKD"]) for row in rows]
    return Finding(
        "pairs",
        "SRA consistently and significantly outperforms state-of-the-art baselines (abstract)",
        "cannot be tested from the paper",
        f"As reported {min(gains):+.2f} to {max(gains):+.2f} over DSKD, the least for the largest students. No "
        "spread is "
        "reported, and the average is of five sets (with DialogSum), so it cannot stand beside those of the "
        "earlier papers.",
        {"table": rows},
    )


def settings() -> Finding:
    return Finding(
        "settings",
        "Batch, epochs, learning rate",
        "cannot be tested from the paper",
        "The program's README trains TinyLlama for 10 epochs at a batch of 4, its script for 15 at 16; the script of "
        "GPT-2 340M belongs to another method (words and phrases, entropy weights, rate 5e-5). Every snapshot "
        "of the program "
        "uses an attribute that nothing sets (`proj_embeddings`), and its projection is commented out.",
        {},
    )


def selection() -> Finding:
    return Finding(
        "checkpoint",
        "Scores on Dolly, SelfInst, Vicuna, S-NI and DialogSum",
        "cannot be tested from the paper",
        "After every epoch the program scores the student on five sets of these names and keeps the epoch with "
        "the best mean: those "
        "are the sets of the table, not held-out text of the training set. Which epoch is in the table is not said.",
        {},
    )
