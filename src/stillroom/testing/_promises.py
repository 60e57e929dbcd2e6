"""The promises of objectives, one check each; what is broken is said in words."""

import copy
import json
from dataclasses import asdict, dataclass, fields, is_dataclass, replace

import torch
from torch import Tensor

from stillroom.core.batch import Batch
from stillroom.core.loss import Loss
from stillroom.core.objective import Objective
from stillroom.core.shape import ModelShape
from stillroom.core.signals import Reads, Signals
from stillroom.testing._signals import (
    Answers,
    Change,
    changed,
    random_answer,
    random_batch,
    row_of,
    spoil,
    tensors,
    unscored,
)


@dataclass(frozen=True)
class Trial:
    """An objective that is set up, with a batch and random signals for it."""

    objective: Objective
    batch: Batch
    student: Answers
    teacher: Answers

    @classmethod
    def of(cls, objective: Objective, student: ModelShape, teacher: ModelShape, seed: int) -> "Trial":
        generator = torch.Generator().manual_seed(seed)
        objective = copy.deepcopy(objective)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            reads = objective.setup(student, teacher)
        promise(isinstance(reads, Reads), objective, "setup() returns a Reads", f"it returned {reads!r}")
        batch = random_batch(student, teacher, generator)
        return cls(
            objective,
            batch,
            {each: random_answer(each, student, batch.student, generator) for each in reads.student},
            {each: random_answer(each, teacher, batch.teacher, generator) for each in reads.teacher},
        )

    def losses(self) -> dict[str, Loss]:
        try:
            return self.objective(
                Signals(self.student, "student"), Signals(self.teacher, "teacher"), self.batch
            )
        except KeyError as error:
            if "was not recorded" not in str(error):
                raise
            raise AssertionError(f"{_named(self.objective)} reads only what it declared: {error}") from error

    def totals(self) -> dict[str, float]:
        with torch.no_grad():
            return {term: loss.total.item() for term, loss in self.losses().items()}

    def counted(self) -> list[str]:
        """Terms that are sums over the batch: all but regularizers, which count one a step."""
        return [term for term, unit in self.objective.terms.items() if unit != "step"]

    def changed(self, change: Change) -> "Trial":
        """The same trial with every tensor of the signals passed through `change`."""
        return replace(
            self,
            student={
                key: changed(key, each, self.batch.student, change) for key, each in self.student.items()
            },
            teacher={
                key: changed(key, each, self.batch.teacher, change) for key, each in self.teacher.items()
            },
        )

    def row(self, row: int) -> "Trial":
        """The same trial with one sample."""
        return replace(
            self,
            batch=self.batch.rows(torch.tensor([row])),
            student={key: row_of(key, each, row) for key, each in self.student.items()},
            teacher={key: row_of(key, each, row) for key, each in self.teacher.items()},
        )

    def gradients(self) -> tuple[list[Tensor], list[Tensor]]:
        """Of the sum of all terms: for the student with what the objective trains, and for the teacher."""
        leaves = self.changed(lambda request, each, side: each.detach().clone().requires_grad_())
        summed = torch.stack([loss.total for loss in leaves.losses().values()]).sum()
        promise(summed.requires_grad, self.objective, "the total carries gradient", "its graph was lost")
        ours, theirs = tensors(leaves.student), tensors(leaves.teacher)
        ours += [each for each in self.objective.parameters() if each.requires_grad]
        found = torch.autograd.grad(summed, ours + theirs, allow_unused=True, materialize_grads=True)
        return list(found[: len(ours)]), list(found[len(ours) :])


def promise(kept: bool, objective: Objective, promised: str, found: str) -> None:
    """Raise an AssertionError that says what was promised and what was found."""
    if not kept:
        raise AssertionError(f"{_named(objective)} breaks a promise: {promised}; {found}")


def check_settings(objective: Objective) -> None:
    """A dataclass that compares by identity, whose settings survive being written to a recipe."""
    kind = type(objective)
    decorated = is_dataclass(objective) and "__dataclass_params__" in vars(kind)
    promise(decorated, objective, "it is a dataclass of its own", "decorate it with @dataclass")
    promise(
        kind.__eq__ is object.__eq__,
        objective,
        "it compares and hashes by identity",
        "decorate it with @dataclass(eq=False, kw_only=True)",
    )
    settings = {each.name: getattr(objective, each.name) for each in fields(objective)}
    taken = settings.keys() & {"use", "weight", "learning_rate"}
    promised = "its settings leave `use`, `weight` and `learning_rate` to the recipe"
    promise(not taken, objective, promised, f"it has {taken}")
    try:
        written = json.dumps(asdict(objective))
        again = json.dumps(asdict(kind(**json.loads(written))))
    except TypeError as error:
        raise AssertionError(f"{_named(objective)} has settings that a recipe can hold: {error}") from error
    promise(written == again, objective, "its settings round-trip", f"{written} came back as {again}")


def _check_terms(trial: Trial) -> None:
    """Every term is returned, in its unit, as a float32 scalar with a count that the batch alone tells."""
    objective, losses = trial.objective, trial.losses()
    declared, counts = objective.terms, objective.counts(trial.batch)
    promise(
        losses.keys() == declared.keys(),
        objective,
        f"forward() returns the terms {sorted(declared)}",
        f"it returned {sorted(losses)}",
    )
    promise(
        counts.keys() == declared.keys(),
        objective,
        f"counts() knows the terms {sorted(declared)}",
        f"it knows {sorted(counts)}",
    )
    unknown = objective.term_weights().keys() - declared.keys()
    promise(not unknown, objective, "term_weights() names terms only", f"it names {sorted(unknown)}")
    for term, loss in losses.items():
        promise(
            loss.unit == declared[term], objective, f"{term} counts {declared[term]}", f"it says {loss.unit}"
        )
        promise(
            loss.total.shape == () and loss.total.dtype == torch.float32,
            objective,
            f"the total of {term} is a float32 scalar",
            f"it is {loss.total.dtype} of shape {tuple(loss.total.shape)}",
        )
        promise(
            int(counts[term]) == int(loss.count),
            objective,
            "counts() tells before the forward pass what forward() counts",
            f"for {term} it told {int(counts[term])} and {int(loss.count)} were counted",
        )


def _check_masked(trial: Trial) -> None:
    """What is not scored may hold anything, NaN included."""
    before, spoilt = trial.totals(), trial.changed(spoil)
    after = spoilt.totals()
    for term in before:
        promise(
            _close(before[term], after[term]),
            trial.objective,
            "masked positions change nothing",
            f"{term} went from {before[term]:.6g} to {after[term]:.6g} when they were overwritten "
            "(select rows, or fill before summing: NaN times zero is NaN)",
        )
    for gradient in spoilt.gradients()[0]:
        promise(
            bool(gradient.isfinite().all()),
            trial.objective,
            "masked positions change nothing",
            "NaN in a masked position reached a gradient",
        )


def _check_rows_add_up(trial: Trial) -> None:
    """Micro-batches combine by addition."""
    if not trial.objective.additive:
        return
    whole, parts = trial.losses(), [trial.row(row).losses() for row in range(len(trial.batch.sample_ids))]
    for term in trial.counted():
        summed = sum(part[term].total.item() for part in parts)
        counted = sum(int(part[term].count) for part in parts)
        promise(
            _close(whole[term].total.item(), summed) and int(whole[term].count) == counted,
            trial.objective,
            "the rows of a batch add up",
            f"{term} is {whole[term].total.item():.6g} over {int(whole[term].count)} for the batch, "
            f"{summed:.6g} over {counted} for its rows (a sum, never a mean; else declare additive = False)",
        )


def _check_gradients(trial: Trial) -> None:
    """The student learns, the teacher does not."""
    student, teacher = trial.gradients()
    promise(
        not any(bool(each.any()) for each in teacher),
        trial.objective,
        "no gradient reaches the teacher",
        "one did: detach what is read of it",
    )
    promise(
        all(bool(each.isfinite().all()) for each in student) and any(bool(each.any()) for each in student),
        trial.objective,
        "a finite gradient reaches the student",
        "it was zero everywhere or not finite",
    )


def _check_half_precision(trial: Trial) -> None:
    """bfloat16 signals are summed in float32: a float32 sum has digits that bfloat16 lacks."""
    losses = trial.changed(lambda request, each, side: each.bfloat16()).losses()
    for term in trial.counted():
        total = losses[term].total
        rounded = total.dtype != torch.float32 or bool((total == total.bfloat16().float()) & (total != 0))
        promise(
            not rounded,
            trial.objective,
            "bfloat16 signals are summed in float32",
            f"the total of {term} was {total.dtype} or had been rounded to bfloat16",
        )


def _check_empty(trial: Trial) -> None:
    """A batch without a scored token weighs nothing and harms nothing."""
    empty = replace(trial, batch=unscored(trial.batch))
    for term, loss in empty.losses().items():
        if term in trial.counted():
            promise(
                loss.total.item() == 0 and int(loss.count) == 0,
                trial.objective,
                "an empty mask gives zero",
                f"{term} was {loss.total.item()} over {int(loss.count)}",
            )
    promise(
        all(bool(each.isfinite().all()) for each in empty.gradients()[0]),
        trial.objective,
        "an empty mask gives finite gradients",
        "they were not (0 / 0?)",
    )


def check_zero_at_match(trial: Trial) -> None:
    """A student that computes what its teacher computes has nothing to learn."""
    matched = replace(trial, student=trial.teacher)
    for term, total in matched.totals().items():
        promise(
            abs(total) < 1e-4,
            trial.objective,
            "equal signals give zero (zero_at_match)",
            f"{term} was {total:.6g}",
        )


CHECKS = (
    _check_terms,
    _check_masked,
    _check_rows_add_up,
    _check_gradients,
    _check_half_precision,
    _check_empty,
)


def _close(first: float, second: float) -> bool:
    return abs(first - second) <= 1e-4 * max(1.0, abs(first))


def _named(objective: Objective) -> str:
    return type(objective).__name__
