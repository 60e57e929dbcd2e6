"""Is this run fit to start? The teacher is asked about a few dozen samples, and one step is tried.

What is judged and how lies in `diagnostics.teacher_check`; here is who is asked about which text (`docs/preflight.md`).
Nothing of it stays: a run trains the same student with and without it.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from stillroom.core.batch import Batch, Side
from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance
from stillroom.core.signals import Request, Signals, TopTokens
from stillroom.diagnostics import teacher_check as check
from stillroom.diagnostics.logit_scale import best_scale
from stillroom.diagnostics.paired_text import Gain, Responses, by_sample, paired_gain
from stillroom.diagnostics.teacher_check import Verdict
from stillroom.diagnostics.token_marks import SHIFTS, TokenMarks, token_marks
from stillroom.diagnostics.voice import READS, Voice, listen
from stillroom.evaluation.bits_per_byte import text_lengths
from stillroom.recipe import forecast as forecasts
from stillroom.recipe import probe
from stillroom.recipe.build import Built, collator, teacher_collator
from stillroom.recipe.encoding import sides
from stillroom.recipe.forecast import Forecast, Rehearsal
from stillroom.recipe.prepare import Prepared
from stillroom.recipe.vocabularies import Vocabularies
from stillroom.taps.capture import capture
from stillroom.taps.eval_mode import eval_mode
from stillroom.teachers.cached import CachedTeacher

if TYPE_CHECKING:
    from transformers import TrainingArguments

OVERRIDE = "to train all the same, set teacher.preflight: note"
CROWDED, FULL = 0.9, 1.1
"""Shares of the memory there is: from the first the forecast is a note, from the second the run is refused."""


@dataclass(frozen=True)
class Preflight:
    """What was looked at, and what training will take."""

    verdicts: list[Verdict]
    forecast: Forecast
    facts: dict[str, Any] = field(default_factory=dict)
    """Numbers: samples, tokens, loss, entropy, information, top1, scale of the logits, gains of other templates."""
    seconds: float = 0.0

    @property
    def refusals(self) -> list[str]:
        return [each.sentence for each in self.verdicts if each.outcome == "refused"]

    @property
    def notes(self) -> list[str]:
        return [each.sentence for each in self.verdicts if each.outcome == "note"]

    def require(self) -> None:
        """`BadInput` with every reason against the run, one a line, and the way to start it on purpose."""
        if self.refusals:
            *others, last = self.refusals
            raise BadInput("\n".join([*others, f"{last}. Otherwise, {OVERRIDE}"]))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        forecast = asdict(self.forecast) | {
            name: getattr(self.forecast, name) for name in ("peak", "seconds", "too_large")
        }
        verdicts = [asdict(each) for each in self.verdicts]
        return {"checks": verdicts, "forecast": forecast, "facts": self.facts, "seconds": self.seconds}


def examine(
    prepared: Prepared,
    built: Built,
    arguments: "TrainingArguments",
    advance: Advance = lambda done, total, detail="": None,
    batches: int = 2,
) -> Preflight:
    """Ask and try; both models lie on the device of `arguments`. `batches` of `probe.BATCH` samples are asked about."""
    start = time.perf_counter()
    advance(0, 3, "the teacher")
    verdicts, facts = _declared(prepared, built), {}
    if prepared.recipe.teacher is not None:
        interview = _Interview(prepared, built, arguments.device, batches)
        found = interview.verdicts()
        verdicts, facts = [*verdicts, *found], interview.facts
    advance(1, 3, "memory and time")
    forecast = _forecast(prepared, built, arguments)
    verdicts += _memory(forecast)
    advance(3, 3, "ready" if all(each.outcome != "refused" for each in verdicts) else "refused")
    return Preflight(verdicts, forecast, facts, round(time.perf_counter() - start, 3))


# --- what is known without asking ---------------------------------------------------------------------------------


def _declared(prepared: Prepared, built: Built) -> list[Verdict]:
    if built.teacher is None:
        return []
    ours, theirs = built.pair.student_shape, built.teacher.shape
    verdicts = [
        Verdict("vocabulary", _vocabulary(prepared.vocabularies)),
        Verdict("width", f"student {ours.width}, teacher {theirs.width}"),
        Verdict("layers", f"student {ours.num_layers}, teacher {theirs.num_layers}"),
    ]
    if built.live is None:
        return verdicts
    models = [each.model for each in built.live.members]
    awake = any(module.training for model in models for module in model.modules())
    trained = any(each.requires_grad for model in models for each in model.parameters())
    if awake or trained:
        what = "in training mode" if awake else "not frozen"
        verdicts.append(
            Verdict("teacher at rest", what, "refused", f"the teacher is {what}; call eval() and freeze it")
        )
    else:
        verdicts.append(Verdict("teacher at rest", "frozen, in evaluation mode"))
    if built.described["student"].get("sha256") == built.described["teacher"].get("sha256"):
        sentence = "student and teacher have the same weights: the student can only learn what it knows"
        verdicts.append(Verdict("weights", "the same on both sides", "note", sentence))
    return verdicts


def _vocabulary(vocabularies: Vocabularies) -> str:
    if vocabularies.are_two:
        return f"two, of {vocabularies.student.size:,} and {vocabularies.teacher.size:,} tokens"
    return f"one, of {vocabularies.student.size:,} tokens"


# --- what the teacher says ----------------------------------------------------------------------------------------


class _Interview:
    """Asks both models about the probe, once for every question that has been left open by the answers before.

    Each reads the probe in its own vocabulary.
    """

    def __init__(self, prepared: Prepared, built: Built, device: torch.device, batches: int) -> None:
        self.prepared, self.built, self.device = prepared, built, device
        self.recipe, self.vocabularies = prepared.recipe, prepared.vocabularies
        self.collator = teacher_collator(prepared) if self.vocabularies.are_two else collator(prepared)
        self.tokenizer = prepared.teacher_tokenizer if self.vocabularies.are_two else prepared.tokenizer
        self.rows = self.vocabularies.teacher.size
        self.count = batches * probe.BATCH
        self.samples = probe.shorter_half(prepared.probe, self.count)
        self.facts: dict[str, Any] = {}

    def verdicts(self) -> list[Verdict]:
        full = self._items("teacher")
        chosen = probe.batches(full, self.collator, self.device)
        try:
            ask = self._teacher()
            marks, voice = self._heard(ask, chosen)
        except BadInput as error:
            return [
                Verdict(
                    "answers", "not checked", "note", f"the teacher's answers could not be checked: {error}"
                )
            ]
        self._remember(marks, voice)
        if (too_few := check.judge_amount(marks)) is not None:
            return [too_few]
        found = [*check.judge_loss(marks, voice.vocab_size), check.judge_shift(marks)]
        if not marks.is_finite:
            return found
        scale = self._scale(voice, marks)
        if any(each.outcome == "refused" for each in found):
            return self._explained(found, scale, ask, chosen, marks)
        found.append(scale)
        if self.built.live is not None:
            found += [self._rendering(full), self._template(full, ask, marks, voice)]
        return [*found, self._against_student(chosen, marks, voice)]

    def _items(self, role: str) -> probe.Items:
        """The same samples for both. A cache knows them as they were trained on, whole."""
        if isinstance(self.built.teacher, CachedTeacher):
            dataset = self.prepared.taught if role == "teacher" else sides(self.prepared.train)[0]
            chosen = random.Random(self.recipe.seed).sample(
                range(len(dataset)), min(self.count, len(dataset))
            )
            return [dict(dataset[index]) for index in chosen]
        tokenizer = self.tokenizer if role == "teacher" else self.prepared.tokenizer
        return probe.items(self.samples, tokenizer, self.recipe)

    def _teacher(self) -> Callable[[Batch], Signals]:
        """Who answers with what; `BadInput` where the answers do not hold a distribution."""
        teacher = self.built.teacher
        assert teacher is not None
        requests: tuple[Request, ...] = READS
        if isinstance(teacher, CachedTeacher) and teacher.store.lacking(READS):
            requests = tuple(each for each in self.prepared.teacher_requests if isinstance(each, TopTokens))[
                :1
            ]
            if not requests:
                held = ", ".join(teacher.store.manifest.requests)
                raise BadInput(f"the cache holds {held}, and no probabilities of tokens")
        teacher.prepare(requests)
        return lambda batch: teacher.answer(Batch(batch.student, batch.student, batch.sample_ids), requests)

    def _student(self, batch: Batch) -> Signals:
        return capture(self.built.student, batch.student, READS, vocab_size=self.prepared.vocab_size)

    def _heard(
        self, ask: Callable[[Batch], Signals], chosen: list[Batch], rows: int | None = None
    ) -> tuple[TokenMarks, Voice]:
        voice = listen(ask, chosen, rows or self.rows)
        return token_marks(voice), voice

    def _remember(self, marks: TokenMarks, voice: Voice) -> None:
        self.facts |= {
            "samples": len(voice.samples.unique()),
            "tokens": len(voice),
            "loss": float(marks.loss.mean()),
            "entropy": float(marks.entropy.mean()),
            "information": marks.information,
            "top1": float(marks.hit.mean()),
        }

    def _explained(
        self,
        found: list[Verdict],
        scale: Verdict,
        ask: Callable[[Batch], Signals],
        chosen: list[Batch],
        marks: TokenMarks,
    ) -> list[Verdict]:
        """Ids that are off, or another temperature, may be why a teacher is at chance level: then the one reason."""
        reason = next((each for each in found if each.check == "ids" and each.outcome == "refused"), None)
        best = self.facts["loss"] - self.facts["logit_scale_gain"]
        if reason is None and scale.outcome == "refused":
            reason = scale if best < check.CHANCE * math.log(self.rows) else None
        if reason is None and self.built.live is not None:
            rows = self.rows
            few = chosen[:1]
            read = {k: self._heard(ask, [_shifted(batch, k, rows) for batch in few])[0] for k in SHIFTS}
            reason = check.judge_reading(read, marks.first(int(few[0].student.predicts.sum())))
        if reason is None:
            return found
        return [each for each in found if each.check != reason.check and each.outcome != "refused"] + [reason]

    def _scale(self, voice: Voice, marks: TokenMarks) -> Verdict:
        scale = best_scale(voice)
        self.facts |= {"logit_scale": scale.scale, "logit_scale_gain": scale.gain}
        return check.judge_scale(scale, float(marks.loss.mean()))

    def _rendering(self, full: probe.Items) -> Verdict:
        """Would the teacher's own tokenizer have written the same ids?"""
        if self.vocabularies.are_two:
            return Verdict("rendered prompts", "each model reads what its own tokenizer writes")
        theirs = probe.items(self.samples, self.prepared.teacher_tokenizer, self.recipe)
        for ours, other in zip(full, theirs, strict=False):
            if not torch.equal(ours["input_ids"], other["input_ids"]):
                sentence = (
                    "the teacher's own tokenizer writes the prompts differently (a begin or end token, usually: "
                    f"{ours['input_ids'][:3].tolist()}... against {other['input_ids'][:3].tolist()}...); both models "
                    "read what the student's writes"
                )
                return Verdict("rendered prompts", "different", "note", sentence)
        return Verdict("rendered prompts", "the same ids on both sides")

    def _template(
        self, full: probe.Items, ask: Callable[[Batch], Signals], marks: TokenMarks, voice: Voice
    ) -> Verdict:
        name = self.recipe.data.template
        if not probe.have_prompts(full):
            return Verdict("template", f"{name}, the text has no prompts", "unknown")
        ours = by_sample(voice.targets, marks.loss, voice.samples)
        gains: dict[str, Gain | None] = {}
        takes = []
        others = probe.others(self.samples, self.prepared.teacher_tokenizer, self.recipe)
        for other, items, fits in others:
            gains[other] = paired_gain(ours, self._responses(ask, items))
            takes += [other] if fits and self._student_knows(other) else []
        gains[check.NO_PROMPT] = paired_gain(ours, self._responses(ask, probe.without_prompt(full)))
        self.facts["template_gains"] = {
            other: None if gain is None else asdict(gain) for other, gain in gains.items()
        }
        return check.judge_template(name, gains, takes)

    def _student_knows(self, template: str) -> bool:
        """Whether the recipe could say `template`: a chat template must be the student's, too."""
        return template != "chat" or bool(self.prepared.tokenizer.chat_template)

    def _responses(self, ask: Callable[[Batch], Signals], items: probe.Items) -> Responses:
        marks, voice = self._heard(ask, probe.batches(items, self.collator, self.device))
        return by_sample(voice.targets, marks.loss, voice.samples)

    def _against_student(self, chosen: list[Batch], marks: TokenMarks, voice: Voice) -> Verdict:
        if self.vocabularies.are_two:
            chosen = probe.batches(self._items("student"), collator(self.prepared), self.device)
        with eval_mode(self.built.student):
            student, heard = self._heard(self._student, chosen, self.vocabularies.student.size)
        self.facts["student_loss"] = float(student.loss.mean())
        if not self.vocabularies.are_two:
            return check.judge_student(student.loss, marks.loss)
        ours, theirs = self.vocabularies.tables
        both = _per_byte(student, heard, ours), _per_byte(marks, voice, theirs)
        common = sorted(both[0].keys() & both[1].keys())
        if not common:
            return Verdict("against the student", "no sample that both can read", "unknown")
        student_loss, teacher_loss = (torch.tensor([each[sample] for sample in common]) for each in both)
        return check.judge_student(student_loss, teacher_loss, unit="byte")


def _per_byte(marks: TokenMarks, voice: Voice, tokens: ByteTable) -> dict[int, float]:
    """Nats per byte of every sample's response. Responses are cut at the same number of tokens, not of bytes."""
    lengths = text_lengths(tokens)
    losses = by_sample(voice.targets, marks.loss, voice.samples)
    sizes = {sample: int(lengths[ids].sum()) for sample, (ids, _) in losses.items()}
    return {
        sample: float(each.sum()) / sizes[sample] for sample, (_, each) in losses.items() if sizes[sample]
    }


def _shifted(batch: Batch, by: int, rows: int) -> Batch:
    """The same text with a constant added to every id, those to be predicted included."""
    side = batch.student
    ids = (side.input_ids + by).clamp(0, rows - 1)
    moved = Side(ids, side.attention_mask, side.response_mask)
    return Batch(moved, moved, batch.sample_ids)


# --- what training will take --------------------------------------------------------------------------------------


def _forecast(prepared: Prepared, built: Built, arguments: "TrainingArguments") -> Forecast:
    models = [] if built.live is None else [each.model for each in built.live.members]
    steps = _steps(prepared, arguments)
    optimizer = prepared.recipe.training.get("optim") or str(
        getattr(arguments.optim, "value", arguments.optim)
    )
    has_momentum = "momentum" in (arguments.optim_args or "")
    terms = forecasts.counted_terms(built.pair, models, optimizer, has_momentum)
    loaded = terms[forecasts.WEIGHTS] + terms[forecasts.TEACHER]
    available = forecasts.available_memory(arguments.device) + loaded
    if arguments.deepspeed or arguments.fsdp or sum(terms.values()) > available:
        return Forecast(terms, available, None, steps)
    pad, data, size = collator(prepared), prepared.train, arguments.per_device_train_batch_size
    longest = max(range(len(data)), key=lambda index: data.lengths[index])
    chosen = random.Random(arguments.seed).sample(range(len(data)), min(size, len(data)))
    trial = Rehearsal(built.pair, built.teacher, arguments)
    seconds = None
    try:
        row = trial.activations(pad([data[longest]]))
        terms[forecasts.ACTIVATIONS] = int(row * size * _kept(built, arguments))
        if sum(terms.values()) <= available:
            seconds = (
                trial.seconds(pad([data[index] for index in chosen])) * arguments.gradient_accumulation_steps
            )
    except torch.OutOfMemoryError:
        terms[forecasts.ACTIVATIONS] = max(terms.get(forecasts.ACTIVATIONS, 0), available)
        torch.cuda.empty_cache()
    return Forecast(terms, available, seconds, steps)


def _kept(built: Built, arguments: "TrainingArguments") -> float:
    """The share of activations that checkpointing keeps: the inputs of all blocks, and one block at a time."""
    return (
        min(1.0, 0.1 + 1 / built.pair.student_shape.num_layers) if arguments.gradient_checkpointing else 1.0
    )


def _steps(prepared: Prepared, arguments: "TrainingArguments") -> int:
    if arguments.max_steps > 0:
        return arguments.max_steps
    batch = (
        arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    )
    return math.ceil(arguments.num_train_epochs * max(len(prepared.train) // batch, 1))


def _memory(forecast: Forecast) -> list[Verdict]:
    share = forecast.peak / max(forecast.available, 1)
    value = f"{_gib(forecast.peak)} of {_gib(forecast.available)}"
    if share < CROWDED:
        return [Verdict("memory", value)]
    term = forecast.too_large or max(forecast.terms, key=lambda name: forecast.terms[name])
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in forecast.terms.items() if size)
    sentence = (
        f"training would take about {_gib(forecast.peak)} and there are {_gib(forecast.available)}: {term} will not "
        f"fit ({parts}); {forecasts.ADVICE[term]}"
    )
    return [Verdict("memory", value, "refused" if share > FULL else "note", sentence)]


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size > 2**29 else f"{size / 2**20:.0f} MiB"
