"""The memory of a search on disk (Optuna, a journal), and what it suggests next.

A suggestion depends on the seed, the number of the trial and the results so far, on nothing in memory: a search that
was killed goes on as if it had not been. A trial that was running then is still there, and comes first.

Differs:  a grid is walked in an order shuffled by the seed, so that a part of it is a sample of it
"""

import itertools
import json
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput
from stillroom.search.space import Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

JOURNAL = "search.journal"
MAXIMIZED = frozenset({"agreement", "rouge_l"})
_ASKED = "asked"
_MANY = 1_000_003


@dataclass(frozen=True)
class Suggestion:
    number: int
    values: dict[str, Any]


class Memory:
    """What was tried and what came of it. `BadInput` where the folder holds another search, or Optuna is missing."""

    def __init__(self, space: Space, output: Path, sets: Sequence[str]) -> None:
        optuna = _optuna()
        self._space = space
        output.mkdir(parents=True, exist_ok=True)
        backend = optuna.storages.journal.JournalFileBackend(str(_mended(output / JOURNAL)))
        self._study: Study = optuna.create_study(
            study_name="search",
            storage=optuna.storages.JournalStorage(backend),
            direction="maximize" if space.metric in MAXIMIZED else "minimize",
            load_if_exists=True,
        )
        self._compare_with_before(output, sets)

    def next(self, count: int) -> list[Suggestion]:
        """At most `count` trials to run: those that were interrupted, else new ones while the search has any left."""
        stuck = [trial for trial in self._asked() if not trial.state.is_finished()]
        if stuck:
            return [Suggestion(trial.number, dict(trial.params)) for trial in stuck[:count]]
        left = self.total - len(self.ended())
        return [self._ask() for _ in range(min(count, left))]

    def tell(self, number: int, value: float | None) -> None:
        """What came of a trial; None: it failed."""
        from optuna.trial import TrialState

        if value is None:
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, value)

    def ended(self) -> "list[FrozenTrial]":
        """Finished and failed trials, by number."""
        return [trial for trial in self._asked() if trial.state.is_finished()]

    @property
    def total(self) -> int:
        """Trials of the search: as many as were asked for, and no more than a grid has."""
        return (
            min(self._space.trials, len(_grid(self._space)))
            if self._space.sampler == "grid"
            else self._space.trials
        )

    def importance(self) -> dict[str, float]:
        """Share of each setting in what separates good trials from the rest (PED-ANOVA); empty below ten results."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        good = [trial for trial in self.ended() if trial.value is not None]
        if len(good) < 10 or len(self._space.space) < 2 or len({trial.value for trial in good}) < 2:
            return {}
        return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())

    def _ask(self) -> Suggestion:
        self._study.sampler = _sampler(self._space, len(self._asked()))
        trial = self._study.ask({key: each.distribution() for key, each in self._space.space.items()})
        return Suggestion(trial.number, dict(trial.params))

    def _asked(self) -> "list[FrozenTrial]":
        """Without one that was killed in the middle of being suggested: nothing was run of it."""
        every = self._study.get_trials(deepcopy=False)
        return [trial for trial in every if trial.params.keys() == self._space.space.keys()]

    def _compare_with_before(self, output: Path, sets: Sequence[str]) -> None:
        asked = {**self._space.model_dump(mode="json", exclude={"trials", "about"}), "--set": list(sets)}
        before = self._study.user_attrs.get(_ASKED)
        if before is None:
            self._study.set_user_attr(_ASKED, json.dumps(asked))
            return
        known = json.loads(before)
        if keys := [key for key in asked if known.get(key) != asked[key]]:
            raise BadInput(
                f"{output} holds a search with another {', '.join(keys)}; repeat that one, or give another --output"
            )


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise BadInput('a search needs Optuna: pip install "stillroom[search]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _mended(journal: Path) -> Path:
    """Without half a line at its end and without the lock of a process that was killed; ours is the only one."""
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    if journal.exists():
        text = journal.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            journal.write_bytes(whole)
    return journal


def _sampler(space: Space, number: int) -> "BaseSampler":
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler

    seed = (space.seed * _MANY + number) % 2**32
    if space.sampler == "grid":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return PartialFixedSampler(_grid(space)[number], RandomSampler(seed=seed))
    return TPESampler(seed=seed) if space.sampler == "tpe" else RandomSampler(seed=seed)


def _grid(space: Space) -> list[dict[str, Any]]:
    points = list(itertools.product(*(each.ends() for each in space.space.values())))
    random.Random(space.seed).shuffle(points)
    return [dict(zip(space.space, point, strict=True)) for point in points]
