"""Which runs a comparison needs, in which order, and what of them lies on disk already.

Seed by seed, all variants of a seed before the next one: a comparison that is stopped is still paired. A finished run
is taken as it is only if its resolved recipe is the one asked for now, and files that it read hold what they held; all
others are made anew, never mixed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stillroom.compare.plan import OWNED, Plan, fixed_rate, resolve
from stillroom.core.errors import BadInput
from stillroom.core.record import RECIPE, SUMMARY, RunSummary, read_summary
from stillroom.recipe.identity import content_hash
from stillroom.recipe.load import load_recipe
from stillroom.recipe.schema import Recipe

RATE = "training.learning_rate"
_FREE = frozenset({"output", "evaluation.baselines", "teacher.preflight"})
"""Keys that may differ: where a run lies, and whether it marked the teacher too, or asked whether it is one."""
_TIE = 0.01


@dataclass(frozen=True)
class Run:
    """One training; its folder is `recipe.output`."""

    variant: str
    seed: int
    recipe: Recipe

    @property
    def folder(self) -> Path:
        return Path(self.recipe.output)


@dataclass(frozen=True)
class Schedule:
    """`variants` are those that are run, `seeds` likewise; `sets` are the words of the command line."""

    plan: Plan
    output: Path
    variants: Sequence[str]
    seeds: Sequence[int]
    sets: Sequence[str] = ()

    def trials(self) -> dict[str, dict[float, Run]]:
        """Runs by variant and learning rate, on the comparison's first seed; only the held-out loss is measured."""
        searching = [name for name in self.variants if not fixed_rate(self.plan, name, self.sets)]
        found = {name: {rate: self._trial(name, rate) for rate in self.plan.rates} for name in searching}
        first = next((run for runs in found.values() for run in runs.values()), None)
        return {
            name: {
                rate: run if run is first else Run(name, run.seed, _unasked(run.recipe))
                for rate, run in runs.items()
            }
            for name, runs in found.items()
        }

    def runs(self, rates: Mapping[str, float]) -> list[Run]:
        """All runs in their order; `rates` are the chosen ones of the variants that searched."""
        bare = [
            self._run(name, seed, {RATE: rates[name]} if name in rates else {})
            for seed in self.seeds
            for name in self.variants
        ]
        marking = self._marking(bare)
        return [
            Run(run.variant, run.seed, _marked(run.recipe, run.folder in marking.values())) for run in bare
        ]

    def _marking(self, runs: Sequence[Run]) -> dict[str, Path]:
        """The runs that mark teacher and untrained student and ask whether the teacher is one: one for each setting."""
        first: dict[str, Path] = {}
        for run in sorted(runs, key=lambda run: run.variant != self.plan.against):
            first.setdefault(_what_is_marked(run.recipe), run.folder)
        return first

    def _trial(self, name: str, rate: float) -> Run:
        measured = {"evaluation.metrics": ["loss"], "evaluation.prompts": 0, "evaluation.baselines": False}
        folder = self.output / f"trial-{slug(name)}-lr{rate:g}"
        seed = self.plan.seeds[0]
        changes = {**self.plan.trial, RATE: rate}
        recipe = resolve(self.plan, name, seed, folder, changes, (*self.sets, *_texts(measured)))
        return Run(name, seed, recipe)

    def _run(self, name: str, seed: int, changes: Mapping[str, Any]) -> Run:
        folder = self.output / f"{slug(name)}-seed{seed}"
        return Run(name, seed, resolve(self.plan, name, seed, folder, changes, self.sets))


def schedule(
    plan: Plan, output: Path, only: Sequence[str] = (), seeds: Sequence[int] = (), sets: Sequence[str] = ()
) -> Schedule:
    """`only` names variants (the one all are paired with is always among them), `seeds` replaces those of the plan.

    Every recipe is resolved once, so that `BadInput` comes before the first run.
    """
    for name in only:
        if name not in plan.variants:
            raise BadInput(f"--only {name}: no such variant; there are {', '.join(plan.variants)}")
    for key in [text.partition("=")[0].strip() for text in sets]:
        if key in OWNED:
            raise BadInput(f"--set {key}: the comparison sets it for every run; use {OWNED[key]}")
    chosen = [name for name in plan.variants if not only or name in only or name == plan.against]
    slugs = [slug(name) for name in plan.variants]
    for name, short in zip(plan.variants, slugs, strict=True):
        if slugs.count(short) > 1 or not short:
            raise BadInput(f"variant {name!r}: its folder would be {short!r} as another's; rename it")
        if not name.isprintable():  # it is shown on terminals
            raise BadInput(f"variant {name!r}: expected a name of letters, digits and signs on one line")
    made = Schedule(plan, output, chosen, list(dict.fromkeys(seeds or plan.seeds)), tuple(sets))
    for run in made.runs({}):
        if run.recipe.data.eval is None:
            raise BadInput(
                f"variant {run.variant!r}: data.eval is missing; variants are compared on held-out text"
            )
    made.trials()
    return made


def state(run: Run) -> str:
    """ "done", or why the run has to be made: "missing", "unfinished", "failed before", or the keys that differ."""
    if not (run.folder / SUMMARY).exists():
        return "missing"
    if (summary := read_summary(run.folder)).exit != "done":
        return "failed before" if summary.exit == "failed" else "unfinished"
    try:
        keys = _differing(run, _FREE)
    except BadInput as error:
        return f"made with a recipe that is refused now ({str(error).splitlines()[0]})"
    if not keys:
        keys = [f"content of {key}" for key in _changed_files(run, summary)]
    return f"made with another {', '.join(keys[:3])}" if keys else "done"


def resumable(run: Run) -> int:
    """The step of the newest checkpoint that an unfinished run can go on from; zero where it has none."""
    steps = [int(path.parent.name[11:]) for path in run.folder.glob("checkpoint-[0-9]*/MANIFEST.json")]
    if not steps or state(run) != "unfinished":
        return 0
    try:
        return 0 if _differing(run, frozenset({"output"})) else max(steps)
    except BadInput:
        return 0


def _differing(run: Run, free: frozenset[str]) -> list[str]:
    """Keys in which the recipe in the folder is not the one asked for now."""
    # Read as a recipe, not as text: a setting that is new since then has its default in both.
    before = dict(_flat(load_recipe(run.folder / RECIPE).model_dump(mode="json")))
    now = dict(_flat(run.recipe.model_dump(mode="json")))
    return [key for key in now | before if key not in free and _unlike(key, before, now)]


def _changed_files(run: Run, summary: RunSummary) -> list[str]:
    """Local files that the run has read and that hold something else now: its text, and what objectives name."""
    data = run.recipe.data
    sources = {"train": data.train, "eval": data.eval}
    now = {split: _sha256(Path(source).expanduser()) for split, source in sources.items() if source}
    before = {split: summary.data.get(split, {}).get("sha256") for split in now}
    texts = [f"data.{split}" for split in now if now[split] and before[split] not in (None, now[split])]
    read = [known for each in summary.objectives for known in each.get("files", {}).items()]
    return texts + [path for path, known in read if _sha256(Path(path).expanduser()) not in (None, known)]


def _sha256(path: Path) -> str | None:
    """None for what is no file here, such as a name on the Hub."""
    if not path.is_file():
        return None
    known = path.stat()
    return _file_sha256(path, known.st_mtime_ns, known.st_size)


@lru_cache(maxsize=64)  # asked for every run, several times
def _file_sha256(path: Path, _changed: int, _size: int) -> str:
    return content_hash(path)


def choose(losses: Mapping[float, float]) -> float:
    """The largest rate within a hundredth of a nat of the best: runs are longer than trials and want larger ones."""
    best = min(losses.values())
    return max(rate for rate, loss in losses.items() if loss <= best + _TIE)


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_.")


def _marked(recipe: Recipe, marks: bool) -> Recipe:
    if marks:
        return recipe
    evaluation = recipe.evaluation.model_copy(update={"baselines": False})
    return _unasked(recipe.model_copy(update={"evaluation": evaluation}))


def _unasked(recipe: Recipe) -> Recipe:
    """Another run of the comparison asks already whether the teacher is one."""
    teacher = recipe.teacher and recipe.teacher.model_copy(update={"preflight": "off"})
    return recipe.model_copy(update={"teacher": teacher})


def _what_is_marked(recipe: Recipe) -> str:
    """All that marks of models which are not trained depend on; words and phrases are cut for training alone."""
    parts = recipe.model_dump(include={"student", "teacher", "data", "evaluation"})
    parts["data"].pop("spans", None)
    return json.dumps(parts, sort_keys=True)


def _texts(changes: Mapping[str, Any]) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def _unlike(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return key not in before or key not in now or before[key] != now[key]


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict | list) and values:
        items = values.items() if isinstance(values, dict) else enumerate(values)
        for key, value in items:
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, values
