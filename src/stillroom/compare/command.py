"""Variants of one recipe at equal trained tokens over several seeds, each paired with one of them.

    python -m stillroom.compare.command recipes/sharp/table6.yaml --output runs/table6 --jobs 2 \
        --set teacher.model=... --results benchmarks/results/sharp_table6.json

The format of the file is described in `comparison/plan.py`. Every run is a `stillroom distill` in its own process; one
that is done is not made again, so a comparison can be stopped, continued and extended. Results are a JSON file with
everything, and beside it a table (.md) and the curves (.html). Exit codes: 0 done, 1 a run failed, 2 bad input, 130
stopped (what is done until then is written).
"""

import argparse
import json
import platform
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stillroom.compare.chart import chart_page
from stillroom.compare.collect import collect
from stillroom.compare.execute import execute
from stillroom.compare.plan import SIZES, read_plan
from stillroom.compare.schedule import Run, Schedule, choose, schedule, state
from stillroom.compare.table import table
from stillroom.core.errors import BadInput
from stillroom.core.record import read_summary, write_text_atomically
from stillroom.report.numbers import finite


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        plan = read_plan(options.comparison, options.size)
        wanted = schedule(plan, options.output, options.only, options.seeds, options.sets)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.dry_run:
        preview(wanted)
        return 0
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # children end with a comparison that is terminated
    try:
        trials, failed = search(wanted, options.jobs)
    except KeyboardInterrupt:
        say("stopped before the learning rates were found; the same command goes on")
        return 130
    rates = {name: choose(losses) for name, losses in trials.items() if losses}
    runs = [run for run in wanted.runs(rates) if run.variant in rates or run.variant not in trials]
    stopped = False
    try:
        failed |= {folder.name: reason for folder, reason in execute(runs, options.jobs, say).items()}
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        stopped = True
    if not stopped or any(state(run) == "done" for run in runs):
        write(content(options, wanted, runs, trials, failed), options.results)
    return 130 if stopped else 1 if failed else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("comparison", type=Path, help="YAML; its format stands in comparison/plan.py")
    parser.add_argument("--output", type=Path, help="folder of the runs (default: runs/NAME)")
    parser.add_argument("--results", type=Path, help="JSON file (default: comparison.json beside the runs)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; more than one: one thread each")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="KEY=VALUE", help="for all runs"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these variants and the paired one"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="instead of those of the file")
    parser.add_argument("--size", choices=SIZES, default=SIZES[0], help="paper: as its section `paper` says")
    parser.add_argument("--dry-run", action="store_true", help="check everything, and say what would be run")
    options = parser.parse_args(arguments)
    if options.jobs < 1:
        parser.error(f"--jobs: expected at least 1, got {options.jobs}")
    name = options.comparison.stem + ("" if options.size == SIZES[0] else f"-{options.size}")
    options.output = options.output or Path("runs") / name
    options.results = options.results or options.output / "comparison.json"
    return options


def search(wanted: Schedule, jobs: int) -> tuple[dict[str, dict[float, float]], dict[str, str]]:
    """Held-out loss by variant and learning rate, and why trials failed, by name. A failed trial is no candidate."""
    trials = wanted.trials()
    every = [run for found in trials.values() for run in found.values()]
    if every:
        say(f"learning rates: {len(every)} trials")
    failed = {folder.name: reason for folder, reason in execute(every, jobs, say).items()}
    losses = {
        name: {
            rate: loss
            for rate, run in found.items()
            if run.folder.name not in failed and (loss := _loss(run)) is not None
        }
        for name, found in trials.items()
    }
    return losses, failed


def _loss(run: Run) -> float | None:
    return finite(read_summary(run.folder).final.get("loss"))


def preview(wanted: Schedule) -> None:
    """What would be run; rates that no trial has chosen yet are those of the base."""
    trials = [run for found in wanted.trials().values() for run in found.values()]
    for run in [*trials, *wanted.runs({})]:
        what = state(run)
        print(f"{run.folder.name}: {what if what in ('done', 'missing') else f'{what}; made anew'}")
        for sentence in run.recipe.warnings:
            print(f"  note: {sentence}")
    if trials:
        print("the learning rates of the runs are chosen by the trials")


def content(
    options: argparse.Namespace,
    wanted: Schedule,
    runs: Sequence[Run],
    trials: dict[str, dict[float, float]],
    failed: dict[str, str],
) -> dict[str, Any]:
    """Everything, as it goes into the results file."""
    found = collect(runs, wanted.plan.against)
    done = sum(len(variant["runs"]) for variant in found["variants"].values())
    if done + sum(run.folder.name in failed for run in runs) < len(runs):
        found["cautions"].insert(0, f"NOT COMPLETE: {done} of {len(runs)} runs are done.")
    return {
        "name": options.results.stem,
        "command": _command(options),
        "about": wanted.plan.about,
        "against": wanted.plan.against,
        "seeds": list(wanted.seeds),
        "processor": processor(),
        **found,
        "trials": {name: {f"{rate:g}": loss for rate, loss in each.items()} for name, each in trials.items()},
        "failed": failed,
        "plan": wanted.plan.model_dump(exclude={"paper"}),
    }


def _command(options: argparse.Namespace) -> str:
    """As it can be typed on another machine: of absolute paths the last name stays."""
    words = ["python", "-m", "stillroom.compare.command", _portable(str(options.comparison))]
    words += ["--size", options.size] if options.size != SIZES[0] else []
    words += ["--jobs", str(options.jobs)] if options.jobs > 1 else []
    words += ["--only", *map(shlex.quote, options.only)] if options.only else []
    words += ["--seeds", *map(str, options.seeds)] if options.seeds else []
    for text in options.sets:
        key, _, value = text.partition("=")
        words += ["--set", f"{key}={_portable(value)}"]
    return " ".join(words)


def _portable(word: str) -> str:
    return f".../{Path(word).name}" if word.startswith(("/", "~", "..")) else word


def processor() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def write(results: dict[str, Any], path: Path) -> None:
    text = table(results)
    write_text_atomically(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text_atomically(path.with_suffix(".md"), text)
    write_text_atomically(path.with_suffix(".html"), chart_page(results))
    print(f"\n{text}\n{path}, .md and .html", flush=True)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
