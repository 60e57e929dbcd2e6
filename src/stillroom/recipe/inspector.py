"""The parts of an inspection, on a training that was built again: what each is measured on, and at which places."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from stillroom.core.batch import Batch
from stillroom.core.inspection import (
    Course,
    Features,
    Gradients,
    Inspection,
    Interference,
    Landscape,
)
from stillroom.core.progress import Advance, Display
from stillroom.core.signals import Signals
from stillroom.diagnostics import landscape as lines
from stillroom.diagnostics.features import (
    AFTER,
    BEFORE,
    CONTROL,
    Cloud,
    OffersFeatures,
    by_construction,
    gather,
    is_finite,
    is_same,
    scatters,
    separation,
    width_of,
)
from stillroom.diagnostics.head_merges import OffersMerges
from stillroom.diagnostics.interference import measure_gradients, skipped, unheard
from stillroom.diagnostics.parameter_groups import trained_parameters
from stillroom.diagnostics.plane import NO_TSNE, has_tsne
from stillroom.evaluation.likelihood import evaluate_likelihood
from stillroom.recipe.build import build, collator
from stillroom.recipe.head_inspector import HeadInspector, as_item, words
from stillroom.recipe.places import Subject, Visit, visits
from stillroom.recipe.prepare import prepare
from stillroom.taps.capture import capture
from stillroom.taps.eval_mode import eval_mode


class Inspector:
    """A built training and what has been found in it so far."""

    def __init__(
        self,
        subject: Subject,
        inspection: Inspection,
        batches: int,
        samples: int,
        seed: int,
        display: Display,
    ) -> None:
        self.subject, self.inspection = subject, inspection
        self.batches, self.samples, self.seed, self.display = batches, samples, seed, display

    def load(self) -> None:
        self.visits, self.inspection.notes = visits(self.subject)
        self.prepared = prepare(self.subject.recipe, self.display)
        self._note_changed_data()
        with self.display.task("Loading the models") as advance:
            built = build(self.prepared, advance)
        use_cpu = self.subject.recipe.training.get("use_cpu", False)
        self.device = torch.device("cuda" if torch.cuda.is_available() and not use_cpu else "cpu")
        self.pair, self.teacher = built.pair.to(self.device), built.teacher
        if self.teacher is not None:
            self.teacher.to(self.device)
        self.collator = collator(self.prepared)
        self.parameters = trained_parameters(self.pair.student)
        self.untrained = lines.copied(self.parameters)
        self.at: Visit = self.visits[0]

    def interference(self) -> None:
        """At every place of the training."""
        terms = list(self.pair.factors())
        if len(terms) < 2:
            self.inspection.notes.append(
                f"{terms[0]} is the only term: there is no gradient to compare it with."
            )
            self.inspection.interference = None
            return
        inputs = self._batches(self.batches)
        places: list[Gradients] = []
        with self.display.task("Comparing gradients") as advance:
            for index, visit in enumerate(self.visits):
                self._go(visit)
                count = _counter(
                    advance, index * len(inputs), len(self.visits) * len(inputs), visit.place.name
                )
                places.append(measure_gradients(self.pair, inputs, self._ask, visit.place, count))
        notes = unheard(places) + [note for each in places for note in skipped(each, len(inputs))]
        size = len(inputs[0]["input_ids"])
        self.inspection.interference = Interference(terms, len(inputs), size, self.seed, places, notes)

    def features(self) -> None:
        """At the last place; for every objective that shows what it compares."""
        self._go(self.visits[-1])
        offering = {
            name: each for name, each in self.pair.objectives.items() if isinstance(each, OffersFeatures)
        }
        if not offering:
            self.inspection.notes.append("No objective of this run shows features (attention.sharp does).")
        self.inspection.features = []
        with self.display.task("Gathering features") as advance:
            for name, objective in offering.items():
                clouds = self._clouds(objective, advance)
                self.inspection.features.append(self._described(name, clouds, advance))

    def heads(self, sentence: str | None, layers: Sequence[int]) -> None:
        """At the last place; for every objective that merges heads of its teacher. Maps on `sentence`, or on the first
        held-out text."""
        self._go(self.visits[-1])
        offering = {
            name: each for name, each in self.pair.objectives.items() if isinstance(each, OffersMerges)
        }
        if not offering:
            self.inspection.notes.append(
                "No objective of this run merges heads (attention.squeeze_heads does)."
            )
        held_out, tokenizer = self._held_out(), self.prepared.tokenizer
        texts = [held_out[index] for index in range(len(held_out))]
        text = "the first held-out text" if self.prepared.evaluation else "the first training text", texts[0]
        if sentence is not None:
            most = self.subject.recipe.data.max_length
            text = "the sentence that was given", as_item(sentence, tokenizer, most)
        looking = HeadInspector(
            self.pair, self._collate, self._ask, lambda ids: words(ids, tokenizer), self.at.place
        )
        size = self.subject.recipe.training["per_device_train_batch_size"]
        with self.display.task("Merging heads") as advance, eval_mode(self.pair), torch.no_grad():
            self.inspection.heads = [
                looking.look(name, each, texts, size, text, layers, advance)
                for name, each in offering.items()
            ]

    def landscape(self, points: int, directions: int) -> None:
        """Around the last place, and from the untrained student to it."""
        self._go(self.visits[-1])
        origin = lines.copied(self.parameters)
        has_moved = len(self.visits) > 1
        alphas, between = lines.grid(points), [i / (points // 2) for i in range(points // 2 + 1)]
        total = directions * len(alphas) + (len(between) if has_moved else 0)
        courses = []
        with self.display.task("Walking through the loss") as advance:
            loss = self._held_out_loss(advance, total)
            for index in range(directions):
                seed = self.seed + index
                delta = lines.random_direction(self.pair.student, self.parameters, seed)
                losses = lines.along(self.parameters, origin, delta, alphas, loss)
                courses.append(
                    _course(f"direction {index + 1}", alphas, losses, lines.curvature(alphas, losses))
                )
            path = None
            if has_moved:
                delta = {name: origin[name] - self.untrained[name] for name in origin}
                path = lines.along(self.parameters, self.untrained, delta, between, loss)
        interpolation = _course("interpolation", between, path) if path else None
        place, count = self.at.place, len(self._held_out())
        notes = (
            []
            if self.prepared.evaluation
            else ["There is no held-out text: the loss is that of training text."]
        )
        self.inspection.landscape = Landscape(place, count, self.seed, courses, interpolation, notes)

    # --- parts of the parts ---------------------------------------------------------------------------------------

    def _go(self, visit: Visit) -> None:
        visit.load(self.pair)
        self.at = visit

    def _ask(self, inputs: Any) -> Signals:
        if self.teacher is None or not self.pair.teacher_requests:
            return Signals({}, owner="teacher")
        return self.teacher.answer(Batch.from_inputs(inputs), self.pair.teacher_requests)

    def _batches(self, most: int) -> list[dict[str, Tensor]]:
        """The first batches of the training text in an order of its own, full ones only (`prepare` saw to one)."""
        size = self.subject.recipe.training["per_device_train_batch_size"]
        data = self.prepared.train
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(self.seed)).tolist()
        chunks = [order[first : first + size] for first in range(0, len(order) - size + 1, size)][:most]
        return [self._collate([data[index] for index in chunk]) for chunk in chunks]

    def _collate(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        return {name: value.to(self.device) for name, value in self.collator(items).items()}

    def _clouds(self, objective: OffersFeatures, advance: Advance) -> dict[str, dict[str, Cloud]]:
        """By side and space, on training text (a cached teacher knows no other)."""
        size = self.subject.recipe.training["per_device_train_batch_size"]
        inputs = self._batches(-(-self.samples // size))
        parts: dict[str, list[Any]] = {"student": [], "teacher": []}
        with eval_mode(self.pair):
            for done, each in enumerate(inputs, start=1):
                batch = Batch.from_inputs(each)
                shape = self.pair.student_shape
                signals = capture(
                    self.pair.student, batch.student, self.pair.student_requests, vocab_size=shape.vocab_size
                )
                parts["student"].append(objective.features(signals, batch.student, shape))
                if self.teacher is not None:
                    answers = self._ask(each)
                    parts["teacher"].append(objective.features(answers, batch.teacher, self.teacher.shape))
                advance(done, len(inputs), "features")
        return {side: gather(found) for side, found in parts.items() if found}

    def _described(self, name: str, clouds: dict[str, dict[str, Cloud]], advance: Advance) -> Features:
        student = clouds["student"]
        granularities = list(student[BEFORE])
        samples = len(student[BEFORE][granularities[0]])
        found = Features(name, self.at.place, samples, granularities, [], [])
        if len(granularities) < 2 or samples < 2:
            found.notes.append("Separation needs two granularities and two samples.")
            return found
        if not all(is_finite(cloud) for spaces in clouds.values() for cloud in spaces.values()):
            found.notes.append("Some features are not finite: there is no distance between them.")
            return found
        is_projected = not is_same(student[BEFORE], student[AFTER])
        if not is_projected:
            found.notes.append("Nothing is projected: the features are compared as they are.")
        for side, spaces in clouds.items():
            found.separations.append(separation(side, BEFORE, spaces[BEFORE], None, self.seed))
            if is_projected:
                found.separations.append(separation(side, AFTER, spaces[AFTER], spaces[BEFORE], self.seed))
        if not has_tsne():
            found.notes.append(f"{NO_TSNE}.")
        for space in (BEFORE, AFTER) if is_projected else (BEFORE,):
            sides = {side: spaces[space] for side, spaces in clouds.items()}
            found.scatters += scatters(space, sides, self.seed, lambda what: advance(1, 1, what))
        if is_projected:
            control = by_construction(student[BEFORE], width_of(student[AFTER]), self.seed)
            found.scatters += scatters(
                CONTROL, {"student": control}, self.seed, lambda what: advance(1, 1, what)
            )
        return found

    def _held_out(self) -> Subset[Any]:
        data = self.prepared.evaluation or self.prepared.train
        return Subset(data, range(min(self.samples, len(data))))

    def _held_out_loss(self, advance: Advance, total: int) -> Callable[[], float]:
        data, size = self._held_out(), self.subject.recipe.evaluation.batch_size
        done = 0

        def loss() -> float:
            nonlocal done
            student, rows = self.pair.student, self.prepared.vocab_size
            value = evaluate_likelihood(student, data, self.collator, vocab_size=rows, batch_size=size)[
                "loss"
            ]
            done += 1
            advance(done, total, f"loss {value:.3f}")
            return value

        return loss

    def _note_changed_data(self) -> None:
        """The text of a run may have been edited since."""
        before = self.subject.summary.data if self.subject.summary is not None else {}
        for split, facts in self.prepared.data.items():
            if split in before and before[split].get("sha256") != facts["sha256"]:
                self.inspection.notes.append(
                    f"The {split} text has changed since the run: {facts['source']}."
                )


def _course(name: str, alphas: list[float], losses: list[float], bend: float | None = None) -> Course:
    known = [loss if math.isfinite(loss) else None for loss in losses]
    return Course(name, alphas, known, bend if bend is not None and math.isfinite(bend) else None)


def _counter(advance: Advance, before: int, total: int, detail: str) -> Callable[[int], None]:
    return lambda done: advance(before + done, total, detail)
