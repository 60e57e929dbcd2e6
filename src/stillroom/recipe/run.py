"""One run, from a prepared recipe to a finished run folder."""

import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PrinterCallback, TrainingArguments
from transformers.integrations import get_available_reporting_integrations

from stillroom.core.errors import BadInput
from stillroom.core.progress import Display, Silent
from stillroom.core.record import (
    ADAPTER,
    METRICS,
    OBJECTIVE,
    SAMPLES,
    STUDENT,
    RunSummary,
    append_jsonl,
    write_jsonl,
    write_summary,
)
from stillroom.evaluation.evaluate_model import NEED_DATA
from stillroom.recipe import folder
from stillroom.recipe.build import build, collator, teacher_digest
from stillroom.recipe.examine import Examiner
from stillroom.recipe.models import quiet
from stillroom.recipe.prepare import Prepared, prepare
from stillroom.recipe.readiness import examine
from stillroom.recipe.schema import Recipe
from stillroom.training import checkpoint, optimizers
from stillroom.training.callbacks import RecordMetrics, ShowProgress, StopAtStep
from stillroom.training.trainer import DistillationTrainer

PACKAGES = (
    "stillroom",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
)


def run_recipe(
    recipe: Recipe,
    *,
    name: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    display: Display | None = None,
) -> RunSummary:
    """Distil as the recipe says and leave a run folder behind (`stillroom.core.record`).

    `name` is what tables call the run (default: its objectives). Raises `BadInput` before any weight is loaded where
    that is possible, and `NonFiniteLoss` where training broke; what was done until then stays in the folder.
    """
    display = display if display is not None and folder.is_main_process() else Silent()
    folder.claim(recipe, resume=resume, overwrite=overwrite)
    if resume and (finished := folder.finished(recipe)) is not None:
        display.say(f"{recipe.output} is already complete")
        return finished
    arguments = training_arguments(recipe)
    prepared = prepare(recipe, display)
    if resume:
        folder.check_same_data(recipe, prepared.data)
        folder.check_same_files(recipe, prepared.files)
        if prepared.cached is not None:
            folder.check_same_cache(recipe, prepared.cached.store.manifest.precision)
    elif overwrite:
        folder.clear(recipe)
    return _Run(prepared, arguments, name, display).execute(resume)


class _Run:
    """The state of one run; its methods are the chapters in their order."""

    def __init__(
        self, prepared: Prepared, arguments: TrainingArguments, name: str | None, display: Display
    ) -> None:
        self.prepared, self.arguments, self.display = prepared, arguments, display
        self.recipe = prepared.recipe
        self.is_main = folder.is_main_process()
        self.summary = RunSummary(
            name=name or " + ".join(self.recipe.objective_names),
            data=prepared.data,
            seed=self.recipe.seed,
            versions={package: version(package) for package in PACKAGES}
            | {"python": platform.python_version()},
            notes=prepared.notes,
        )

    def execute(self, resume: bool) -> RunSummary:
        self.run = folder.open_run(self.recipe)
        if self.arguments.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()  # of earlier runs of this process
        self.summary.environment = environment(self.arguments)
        for note in self.prepared.notes:
            self.display.say(f"note: {note}")
        try:
            self._load()
            self._preflight()
            self._examine_before()
            stopped = self._train(resume)
            self._check_teacher()
            if not stopped:
                self._examine_after()
            self._save_student()
            # only now: a run without its marks or its student is not done, and must not be taken for it
            self.summary.exit = "stopped" if stopped else "done"
        except KeyboardInterrupt:
            self.summary.exit = "stopped"
            raise
        finally:
            if self.summary.exit == "running":
                self.summary.exit = "failed"
            self._write_summary()
        return self.summary

    def _write_summary(self) -> None:
        if self.is_main:
            write_summary(self.run, self.summary)

    def _load(self) -> None:
        with self.display.task("Loading the models") as advance:
            built = build(self.prepared, advance)
        self.student, self.teacher, self.pair = built.student, built.teacher, built.pair
        self.live, self.built = built.live, built
        self.summary.models = built.described
        self.summary.objectives = built.listed()
        self.summary.notes += built.notes()

    def _preflight(self) -> None:
        """Refuse what is no teacher, or will not fit, before anything is trained."""
        device, choice = self.arguments.device, self.recipe.teacher
        self.student.to(device)
        if self.teacher is not None:
            self.teacher.to(device)
        if choice is None or choice.preflight == "off":
            return
        with self.display.task("Preflight") as advance:
            found = examine(self.prepared, self.built, self.arguments, advance)
        if choice.preflight == "refuse":
            found.require()
        for note in found.refusals + found.notes:
            self.summary.notes.append(f"preflight: {note}.")
            self.display.say(f"note: {note}")

    def _check_teacher(self) -> None:
        """A teacher is the same after training as before."""
        if self.live is None or not self.is_main:
            return
        facts = self.summary.models["teacher"]
        facts["unchanged"] = teacher_digest(self.live) == facts["sha256"]
        if not facts["unchanged"]:
            sentence = (
                "The teacher's weights changed while the student was trained: the run is worth nothing."
            )
            self.summary.notes.append(sentence)
            self.display.say(f"note: {sentence}")

    # --- the marks ------------------------------------------------------------------------------------------------

    def _examine_before(self) -> None:
        self.collator = collator(self.prepared)
        self.examiner = Examiner(self.prepared, self.live, self.display)
        self.summary.notes += self.examiner.trimmed_mass(self.student)
        if self.recipe.evaluation.baselines:
            self.summary.teacher = self.examiner.teacher_marks()
            self.summary.baseline = self.examiner.marks(
                self.student, "baseline", "Evaluating the student before training"
            )
        self._write_summary()

    def _examine_after(self) -> None:
        self.summary.final = self.examiner.marks(self.student, "student", "Evaluating the student")
        if self.is_main:
            write_jsonl(self.run / SAMPLES, self.examiner.samples())
        self._record_marks(self.summary.final)

    def _record_marks(self, marks: dict[str, float]) -> None:
        """Into the curves: they begin at the untrained student and end at the final one."""
        summary = self.summary
        if marks and self.is_main:
            place = {
                "step": summary.steps,
                "tokens": summary.tokens,
                "seconds": summary.seconds,
                "split": "eval",
            }
            append_jsonl(self.run / METRICS, place | marks)

    # --- training -------------------------------------------------------------------------------------------------

    def _train(self, resume: bool) -> bool:
        """Whether it was stopped before its end."""
        on_the_way = self.arguments.eval_strategy != "no" or self.arguments.eval_on_start
        has_eval = self.prepared.evaluation is not None and on_the_way
        trainer = DistillationTrainer(
            self.pair,
            args=self.arguments,
            teacher=self.teacher,
            train_dataset=self.prepared.train,
            data_collator=self.collator,
            evaluate_student=(lambda: self.examiner.quick_marks(self.student)) if has_eval else None,
            one_cycle=self.recipe.training["lr_scheduler_type"] == "onecycle",
            optimizer=self.recipe.training.get("optim"),
        )
        start = self._resume_point(trainer) if resume else None
        if start is None:
            self._record_marks(self.summary.baseline)
        stop = StopAtStep(self.display)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(stop)
        trainer.add_callback(RecordMetrics(trainer, self.run))
        with self.display.task(f"Training: {self.summary.name}") as advance, stop.listening():
            trainer.add_callback(ShowProgress(trainer, advance))
            try:
                trainer.train(resume_from_checkpoint=str(start) if start else None)
            finally:
                self._note_training(trainer)
        return stop.stopped

    def _resume_point(self, trainer: DistillationTrainer) -> Path | None:
        found, reasons = checkpoint.newest(self.run)
        for reason in reasons:
            self.display.say(f"passed over: {reason}")
        step = int(found.name.rpartition("-")[2]) if found else 0
        self.display.say(
            f"going on from step {step}" if found else "no checkpoint to go on from; starting anew"
        )
        if self.is_main:
            folder.rewind(self.run, step if found else -1)
        return found

    def _note_training(self, trainer: DistillationTrainer) -> None:
        """How far training came, also where it broke."""
        summary = self.summary
        summary.steps = trainer.state.global_step
        summary.tokens = trainer.trained_tokens
        summary.seconds = round(trainer.train_seconds, 3)
        summary.tokens_per_second = round(trainer.trained_tokens / max(trainer.train_seconds, 1e-9), 1)
        summary.peak_memory_bytes = peak_memory(self.arguments.device)
        summary.notes += trainer.inert()
        for note in trainer.inert():
            self.display.say(f"note: {note}")

    def _save_student(self) -> None:
        if not self.is_main:
            return
        target = self.run / STUDENT
        student: Any = self.student
        with quiet():
            if self.recipe.student.lora is not None:
                student.save_pretrained(self.run / ADAPTER)
                student = student.merge_and_unload()  # a whole model loads everywhere, without peft
            student.save_pretrained(target)
        for weights in target.glob("*.safetensors"):
            weights.chmod(0o644)  # they are written through a private temporary file
        self.prepared.tokenizer.save_pretrained(target)
        # copies: parts may be shared within an objective, and a file holds each by itself
        # parts may share memory or lie transposed in it, and a file of tensors takes neither
        trained = {
            name: each.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, each in self.pair.parts.state_dict().items()
        }
        if trained:
            save_file(trained, self.run / OBJECTIVE)


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """The `training` section as it stands, with what belongs to the run rather than to a person.

    Raises `BadInput` for fields that do not go together.
    """
    settings = dict(recipe.training)
    if settings["lr_scheduler_type"] == "onecycle":
        settings["lr_scheduler_type"] = "constant"  # the trainer puts OneCycle in its place
        if settings.get("lr_scheduler_kwargs"):
            raise BadInput("training.lr_scheduler_kwargs: onecycle takes none; leave them out")
    if (optimizer := settings.get("optim")) in optimizers.OWN:
        settings["optim"] = "adamw_torch"  # the trainer puts ours in its place
    measured = [name for name in recipe.evaluation.metrics or [] if name in NEED_DATA]
    if not measured:
        settings["eval_strategy"] = "no"  # texts are written before and after training only
    if best := settings.get("metric_for_best_model"):
        # transformers takes the greatest value of everything not called loss, perplexity too
        settings.setdefault("greater_is_better", best.removeprefix("eval_") == "agreement")
    try:
        arguments = TrainingArguments(
            output_dir=recipe.output,
            seed=recipe.seed,
            data_seed=recipe.seed,
            disable_tqdm=True,  # progress is ours
            dataloader_pin_memory=settings.pop("dataloader_pin_memory", torch.cuda.is_available()),
            **settings,
        )
    except (ValueError, ImportError) as error:
        raise BadInput(f"training: {' '.join(str(error).split())}") from error
    if optimizer is not None:
        optimizers.check(optimizer, arguments)
    _check_best_metric(arguments, measured)
    absent = sorted(set(arguments.report_to) - {*get_available_reporting_integrations(), "flyte", "none"})
    if absent:
        raise BadInput(
            f"training.report_to: {absent[0]!r} is unknown or not installed; pip install it or leave it out"
        )
    return arguments


def _check_best_metric(arguments: TrainingArguments, measured: list[str]) -> None:
    best = arguments.metric_for_best_model
    wanted = best is not None or arguments.save_strategy == "best"
    if wanted and arguments.eval_strategy == "no":
        raise BadInput("training.eval_strategy: the best model is chosen by evaluations, and there are none")
    if wanted and (best or "").removeprefix("eval_") not in measured:
        raise BadInput(
            f"training.metric_for_best_model: expected one of {', '.join(measured)}, which are measured while "
            f"training, got {best!r}"
        )


def peak_memory(device: torch.device) -> int:
    """Bytes: of the accelerator where one is used, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def environment(arguments: TrainingArguments) -> dict[str, Any]:
    device = (
        torch.cuda.get_device_name() if arguments.device.type == "cuda" else platform.processor() or "CPU"
    )
    precision = "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32"
    return {
        "device": f"{arguments.device.type}: {device}",
        "threads": torch.get_num_threads(),
        "world_size": arguments.world_size,
        "precision": precision,
        "platform": platform.platform(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
