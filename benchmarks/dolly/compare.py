"""Forward KL, reverse KL, Jensen-Shannon and hard labels on Dolly, at equal trained tokens, over several seeds.

Each run is a `stillroom distill` in its own process, so one crash does not lose the rest; a run folder that is done
is not run again, so the whole can be stopped and continued. First every method gets the same three learning rates on
one seed at an eighth of the budget, judged by held-out loss on the development set; then the seeds are run with the
best one (the largest of those within 0.01 nats of it). Rouge-L on the test prompts is measured once per run, last.

    python benchmarks/dolly/compare.py --pair PAIR --dolly FOLDER --output runs/dolly

PAIR holds `teacher` and `student` (see README.md for how to make them), FOLDER the MiniLLM split of Dolly:
`minillm_train.jsonl`, `minillm_dev.jsonl`, `minillm_test500.jsonl`; `--files` names others.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
METHODS = {
    "hard labels": "hard.cross_entropy",
    "forward KL": "logits.forward_kl",
    "reverse KL": "logits.reverse_kl",
    "Jensen-Shannon": "logits.jensen_shannon",
}
RATES = (1e-4, 2.5e-4, 5e-4)
SEEDS = (10, 20, 30)
TRIAL_SHARE = 0.125
TRIAL_SAMPLES = 125
SAMPLES = 500


def main() -> None:
    options = parse()
    rates = trials(options)
    chosen = {method: choose(found) for method, found in rates.items()}
    wanted = [(method, chosen[method], seed, False) for seed in options.seeds for method in METHODS]
    folders = in_parallel(options, wanted)
    with ThreadPoolExecutor(options.jobs) as pool:
        judged = list(pool.map(lambda folder: marks_of(options, folder), folders))
    marks = {name: [m for key, m in zip(wanted, judged, strict=True) if key[0] == name] for name in METHODS}
    first = next(folder for key, folder in zip(wanted, folders, strict=True) if is_first(options, *key))
    content = {
        "command": f"python benchmarks/dolly/compare.py --pair PAIR --dolly FOLDER --jobs {options.jobs}",
        "machine": {"processor": processor(), "threads": summary(first)["environment"]["threads"]},
        "versions": summary(first)["versions"],
        "hashes": {role: model["sha256"] for role, model in summary(first)["models"].items()},
        "data": {
            split: facts | {"source": Path(facts["source"]).name}
            for split, facts in summary(first)["data"].items()
        },
        "epochs": options.epochs,
        "seeds": options.seeds,
        "test_prompts": options.prompts,
        "teacher": summary(first)["teacher"] | rouge(options, options.pair / "teacher", "teacher"),
        "student before training": summary(first)["baseline"]
        | rouge(options, options.pair / "student", "student"),
        "learning rates": rates,
        "chosen": chosen,
        "runs": marks,
    }
    write(content, options.results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pair", type=Path, required=True, help="folder with teacher and student")
    parser.add_argument("--dolly", type=Path, required=True, help="folder with the three files")
    parser.add_argument(
        "--files",
        nargs=3,
        metavar=("TRAIN", "DEV", "TEST"),
        default=("minillm_train.jsonl", "minillm_dev.jsonl", "minillm_test500.jsonl"),
        help="their names, where they are not MiniLLM's",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/dolly"))
    parser.add_argument("--results", type=Path, default=HERE.parent / "results" / "dolly_cpu.json")
    parser.add_argument("--epochs", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; more than one: one thread each")
    parser.add_argument("--prompts", type=int, default=500, help="test prompts for Rouge-L")
    return parser.parse_args()


def trials(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Held-out loss by method and learning rate: one seed, an eighth of the budget, part of the held-out text."""
    jobs = [(method, rate, options.seeds[0], True) for method in METHODS for rate in RATES]
    losses: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    for (method, rate, *_), folder in zip(jobs, in_parallel(options, jobs), strict=True):
        losses[method][f"{rate:g}"] = summary(folder)["final"]["loss"]
    return losses


def choose(losses: dict[str, float]) -> float:
    """The largest rate within a hundredth of a nat of the best: runs are longer than trials and want larger ones."""
    best = min(losses.values())
    return max(float(rate) for rate, loss in losses.items() if loss <= best + 0.01)


def in_parallel(options: argparse.Namespace, jobs: list[tuple]) -> list[Path]:
    """Every run in a process of its own, `--jobs` at a time; with several, each has one thread."""
    with ThreadPoolExecutor(options.jobs) as pool:
        return list(pool.map(lambda job: distill(options, *job), jobs))


def is_first(options: argparse.Namespace, method: str, rate: float, seed: int, is_trial: bool) -> bool:
    """The run that also marks teacher and student before training, once for all."""
    return method == "hard labels" and seed == options.seeds[0] and not is_trial


def distill(options: argparse.Namespace, method: str, rate: float, seed: int, is_trial: bool) -> Path:
    kind = "trial" if is_trial else "run"
    folder = options.output / f"{kind}-{METHODS[method]}-lr{rate:g}-seed{seed}"
    if (folder / "run.json").exists() and summary(folder)["exit"] == "done":
        return folder
    settings = {
        # The hard-label run has a teacher too, which only marks it: agreement and KL stand in every row.
        "teacher.model": options.pair / "teacher",
        "training.learning_rate": rate,
        "training.num_train_epochs": options.epochs * (TRIAL_SHARE if is_trial else 1),
        "data.eval_limit": TRIAL_SAMPLES if is_trial else SAMPLES,
        "evaluation.baselines": str(is_first(options, method, rate, seed, is_trial)).lower(),
    }
    command = [
        "distill", HERE / "compare.yaml", "--student", options.pair / "student",
        "--data", options.dolly / options.files[0], "--eval", options.dolly / options.files[1],
        "--objective", METHODS[method], "--seed", seed, "--output", folder, "--overwrite", "--quiet",
    ]  # fmt: skip
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    stillroom(options, folder.name, command)
    return folder


def stillroom(options: argparse.Namespace, name: str, words: list) -> str:
    print(f"{time.strftime('%H:%M:%S')} {words[0]} {name}", flush=True)
    command = [sys.executable, "-m", "stillroom", *map(str, words)]
    one_thread = {"OMP_NUM_THREADS": "1"} if options.jobs > 1 else {}
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | one_thread
    ).stdout


def marks_of(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    run = summary(folder)
    kept = {
        key: run[key]
        for key in ("seed", "steps", "tokens", "seconds", "tokens_per_second", "peak_memory_bytes")
    }
    return {**run["final"], **rouge(options, folder / "student", folder.name), **kept}


def rouge(options: argparse.Namespace, model: Path, name: str) -> dict[str, float]:
    """Rouge-L on the test prompts, greedy, at most 256 new tokens; kept in a file, since it is asked for once."""
    stored = options.output / "rouge" / f"{name}.json"
    if not stored.exists():
        words = ["evaluate", model, "--data", options.dolly / options.files[2], "--metric", "rouge_l"]
        out = stillroom(options, name, [*words, "--prompts", options.prompts, "--json"])
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(out)
    return json.loads(stored.read_text())


def summary(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def processor() -> str:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def write(content: dict, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(content))
    print(table(content))


def table(content: dict) -> str:
    columns = ("loss", "perplexity", "teacher_kl", "agreement", "rouge_l")
    titles = ("held-out loss", "perplexity", "KL to teacher", "agreement", "Rouge-L")
    lines = [
        "# Dolly, bench pair, equal trained tokens",
        "",
        f"`{content['command']}`",
        "",
        f"{content['machine']['processor']}, {content['machine']['threads']} thread(s) a run, float32, "
        f"torch {content['versions']['torch']}. {content['epochs']:g} epochs, seeds "
        f"{', '.join(map(str, content['seeds']))}: mean ± standard deviation. Held-out: the first {SAMPLES} samples of "
        "minillm_dev, "
        f"nats per response token; Rouge-L: minillm_test500 ({content['test_prompts']} prompts, greedy, at most 256 "
        "new tokens, stemmer).",
        "",
        "| | learning rate | trained tokens | " + " | ".join(titles) + " |",
        "|---|--:|--:|" + "--:|" * len(titles),
    ]
    for name in ("teacher", "student before training"):
        cells = [f"{content[name][key]:.4g}" if key in content[name] else "—" for key in columns]
        lines.append(f"| {name} | — | — | " + " | ".join(cells) + " |")
    for method, marks in content["runs"].items():
        cells = [spread([run[key] for run in marks]) for key in columns]
        tokens = statistics.mean(run["tokens"] for run in marks)
        rate = f"{content['chosen'][method]:g}"
        lines.append(f"| {method} | {rate} | {tokens:,.0f} | " + " | ".join(cells) + " |")
    lines += ["", "Held-out loss of the learning-rate trials (one seed, an eighth of the budget):", ""]
    rates = [f"{rate:g}" for rate in RATES]
    lines += ["| | " + " | ".join(rates) + " |", "|---|" + "--:|" * len(rates)]
    for method, trials in content["learning rates"].items():
        lines.append(f"| {method} | " + " | ".join(f"{trials[rate]:.4f}" for rate in rates) + " |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4g} ± {deviation:.2g}"


if __name__ == "__main__":
    main()
