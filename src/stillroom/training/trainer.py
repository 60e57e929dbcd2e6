"""One trainer for all methods, on the Hugging Face `Trainer`.

The loss of an optimizer step is, for every term, its weight times the sum of its totals over the sum of its counts,
over all micro-batches and all ranks. The counts are known before the first forward pass, so each micro-batch is
divided by the count of the whole step at once.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.data.data_collator import DataCollator
from transformers.training_args import OptimizerNames

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.signals import Signals
from stillroom.teachers.teacher import Teacher
from stillroom.training import checkpoint as checkpoints
from stillroom.training import optimizers, rates
from stillroom.training.guard import NonFiniteLoss, StepWatch
from stillroom.training.order import EpochOrder
from stillroom.training.pair import Pair
from stillroom.training.state import load_state, save_state

INERT_SHARE = 0.01
"""An objective whose gradient never reaches this share of the summed gradient norms is pointed out."""


class DistillationTrainer(Trainer):
    """Trains a `Pair` against a teacher. `args` are the `transformers.TrainingArguments`, unchanged.

    `evaluate_student` returns metrics of the student as it is now; it is called by the evaluation strategy.
    `one_cycle` replaces the schedule of `args` with OneCycle (warm-up steps give the share that rises).
    `optimizer` is a name of `stillroom.training.optimizers` that replaces `args.optim`.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        args: TrainingArguments,
        teacher: Teacher | None,
        train_dataset: Any,
        data_collator: DataCollator,
        evaluate_student: Callable[[], dict[str, float]] | None = None,
        one_cycle: bool = False,
        optimizer: str | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        _adjust(args)
        super().__init__(
            model=pair,
            args=args,
            train_dataset=train_dataset,
            # Never read: `evaluate` calls evaluate_student. The Trainer only insists that there is one.
            eval_dataset=train_dataset if evaluate_student else None,
            data_collator=data_collator,
            callbacks=[*(callbacks or [])],
        )
        self.pair = pair
        self.teacher = teacher
        self.evaluate_student = evaluate_student
        self.one_cycle = one_cycle
        self.optimizer_name = optimizer or OptimizerNames(args.optim).value
        self.loss_is_scaled_for_ga = True  # compute_loss divides by the count of the whole step
        self.trained_tokens = 0
        self.train_seconds = 0.0
        self.shares: dict[str, float] = dict.fromkeys(pair.names, 0.0)
        self._watch = StepWatch()
        self._step_counts: dict[str, Tensor] = {}
        self._window: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.args.device))
        self._logged_step = 0
        self._norms: dict[str, float] = {}
        self._order: EpochOrder | None = None
        self.add_callback(_BeforeUpdate(self))
        if teacher is not None:
            teacher.to(self.args.device)

    # --- the loss -------------------------------------------------------------------------------------------------

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, Tensor | int | None]:
        """Fetch the micro-batches of one optimizer step and count every term over all of them and all ranks."""
        if self.state.global_step >= self.state.max_steps:
            # Resumed at its end: the Trainer would look at max_steps only after one more step.
            return [], None
        window, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        batches = [Batch.from_inputs(inputs) for inputs in window]
        zero = torch.zeros((), dtype=torch.long, device=device)
        sums: dict[str, Tensor] = {"tokens": zero}
        for batch in batches:  # added where the counts lie: nothing waits for an accelerator here
            for key, count in {**self.pair.counts(batch), "tokens": batch.student.predicts.sum()}.items():
                sums[key] = sums.get(key, zero) + count.to(device)
        keys = sorted(sums)
        counted = self.accelerator.reduce(torch.stack([sums[key] for key in keys]), "sum")
        self._step_counts = dict(zip(keys, counted, strict=True))
        self._watch.clear()
        return window, None

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        totals = model(inputs, self.ask_teacher(inputs))
        self._watch.add(inputs, totals)
        scaled = {key: total / self._step_counts[key].clamp(min=1) for key, total in totals.items()}
        for key, value in scaled.items():
            self._window[key] += value.detach()
        factors = self.pair.factors()
        weighted = {key: factors[key] * value for key, value in scaled.items()}
        if self._wants_norms():
            self._measure_gradients(weighted)
        loss = torch.stack(list(weighted.values())).sum()
        # DDP averages gradients over ranks; the counts are already those of all ranks, so undo the average.
        return loss * self.accelerator.num_processes

    def ask_teacher(self, inputs: Mapping[str, Any]) -> Signals:
        if self.teacher is None or not self.pair.teacher_requests:
            return Signals({}, owner="teacher")
        with self.accelerator.autocast():
            return self.teacher.answer(Batch.from_inputs(inputs), self.pair.teacher_requests)

    # --- diagnostics ----------------------------------------------------------------------------------------------

    def _wants_norms(self) -> bool:
        """Gradients by objective cost a backward each: on the first micro-batch of steps that are logged."""
        step = self.state.global_step + 1
        logged = step == 1 or step % max(int(self.state.logging_steps), 1) == 0
        return logged and len(self._watch.seen) == 1 and len(self.pair.names) > 1

    def _measure_gradients(self, weighted: Mapping[str, Tensor]) -> None:
        """Norm of every objective's gradient, from its terms as they enter the loss."""
        student = [each for each in self.pair.student.parameters() if each.requires_grad]
        norms = {}
        for name in self.pair.names:
            terms = [value for key, value in weighted.items() if key.rpartition("/")[0] == name]
            loss = torch.stack(terms).sum()
            if not loss.requires_grad:
                norms[name] = 0.0
                continue
            grads = torch.autograd.grad(loss, student, retain_graph=True, allow_unused=True)
            kept = [grad for grad in grads if grad is not None]
            norms[name] = float(torch.nn.utils.get_total_norm(kept)) if kept else 0.0
        self._norms = norms
        whole = sum(norms.values())
        for name, norm in norms.items():
            if whole > 0:
                self.shares[name] = max(self.shares[name], norm / whole)

    def inert(self) -> list[str]:
        """A sentence for every objective that hardly moved the student, known after training."""
        if len(self.shares) < 2 or not any(self.shares.values()):
            return []
        return [
            f"{name} is inert: it never gave more than {100 * share:.2g} % of the gradient. "
            f"Raise its weight (now {self.pair.weights[name]:g}) or leave it out"
            for name, share in self.shares.items()
            if share < INERT_SHARE and self.pair.weights[name] > 0
        ]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean of every term since the last log, the gradient norms and the tokens trained so far."""
        steps = self.state.global_step - self._logged_step
        if "loss" in logs and steps > 0:
            keys = sorted(self._window)
            sums = self.accelerator.reduce(torch.stack([self._window[key] for key in keys]), "sum")
            logs |= {f"loss/{key}": float(value) / steps for key, value in zip(keys, sums, strict=True)}
            alone = len(self.pair.names) == 1 and "grad_norm" in logs
            norms = {self.pair.names[0]: logs["grad_norm"]} if alone else self._norms
            logs |= {f"grad_norm/{name}": norm for name, norm in norms.items()}
            for name, objective in self.pair.objectives.items():
                logs |= {f"measure/{name}/{what}": value for what, value in objective.measures().items()}
            self._window.clear()
            self._logged_step = self.state.global_step
        logs["tokens"] = self.trained_tokens
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Metrics of the student as it is now, under the prefix `eval_`."""
        if self.evaluate_student is None:
            return {}
        metrics = {f"eval_{name}": value for name, value in self.evaluate_student().items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # --- order and schedule ---------------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        strategy = self.args.train_sampling_strategy
        if strategy not in ("random", "group_by_length"):
            return super()._get_train_sampler(train_dataset)
        dataset = train_dataset if train_dataset is not None else self.train_dataset
        seed = self.args.data_seed if self.args.data_seed is not None else self.args.seed
        step = self.get_total_train_batch_size(self.args)
        self._order = EpochOrder(dataset.lengths, step, seed, group=strategy == "group_by_length")
        return self._order

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            decaying = self.get_decay_parameter_names(self.pair)
            made = optimizers.build(self.optimizer_name, self.args, self.pair, decaying)
            if self.pair.rates:
                if self._sharded():
                    raise BadInput(
                        "sharded training knows one rate for all parameters; leave learning_rate out of objectives"
                    )
                kind, settings = made or self.get_optimizer_cls_and_kwargs(self.args, self.pair)
                groups = settings.get("params") or rates.by_decay(self.pair, decaying, self.args)
                made = kind, {**settings, "params": rates.apart(groups, self.pair)}
            self.optimizer_cls_and_kwargs = made
        return super().create_optimizer(model)

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LRScheduler:
        if not self.one_cycle:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            rising = self.args.get_warmup_steps(num_training_steps) / max(num_training_steps, 1)
            optimizer = optimizer or self.optimizer
            self.lr_scheduler = OneCycleLR(
                optimizer,
                max_lr=[float(group["lr"]) for group in optimizer.param_groups],
                total_steps=num_training_steps + 1,
                pct_start=min(rising, 1.0) or 0.3,
                cycle_momentum=False,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def _sharded(self) -> bool:
        return self.is_fsdp_enabled or self.is_deepspeed_enabled

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """Whole or absent, and free of pickle; sharded training keeps the format of its engine."""
        if self._sharded():
            return super()._save_checkpoint(model, trial)
        if not optimizers.resumable(self.optimizer_name):
            return None  # Ctrl-C asks for one in any case
        run = Path(self.args.output_dir)
        target = run / f"checkpoint-{self.state.global_step}"
        # Every rank keeps its own random state; rank 0 gathers them through the file system after a barrier.
        checkpoints.save_random(run / f".random-{self.args.process_index}.safetensors")
        self.accelerator.wait_for_everyone()
        best = run / f"checkpoint-{self.state.best_global_step}"
        if self.state.best_global_step and (best == target or best.is_dir()):
            self.state.best_model_checkpoint = str(best)
        if self.args.should_save:
            with checkpoints.publish(target) as folder:
                checkpoints.save_weights(self.pair, folder)
                state = {
                    "optimizer": optimizers.storable(self.optimizer.state_dict()),
                    "scheduler": self.lr_scheduler.state_dict(),
                    "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
                }
                save_state(folder / checkpoints.OPTIMIZER, state)
                progress = {"tokens": self.trained_tokens, "seconds": self.train_seconds}
                (folder / checkpoints.PROGRESS).write_text(json.dumps(progress))
                self.state.save_to_json(str(folder / "trainer_state.json"))
                for rank in range(self.args.world_size):
                    (run / f".random-{rank}.safetensors").replace(folder / f"random-{rank}.safetensors")
            checkpoints.retain(run, self.args.save_total_limit, best)
        self.accelerator.wait_for_everyone()
        return None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self._sharded():
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        checkpoints.load_weights(self.pair, folder)
        progress = json.loads((folder / checkpoints.PROGRESS).read_text())
        self.trained_tokens, self.train_seconds = progress["tokens"], progress["seconds"]
        self._logged_step = int(folder.name.rpartition("-")[2])
        return None

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._sharded():
            return super()._load_optimizer_and_scheduler(checkpoint)
        state = load_state(Path(checkpoint) / checkpoints.OPTIMIZER)
        self.optimizer.load_state_dict(state["optimizer"])
        optimizers.revive(self.optimizer)
        self.lr_scheduler.load_state_dict(state["scheduler"])
        if self.accelerator.scaler and state.get("scaler"):
            self.accelerator.scaler.load_state_dict(state["scaler"])
        return None

    def _load_best_model(self) -> None:
        if self._sharded():
            return super()._load_best_model()
        checkpoints.load_weights(self.pair, Path(self.state.best_model_checkpoint))
        return None

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None or self._sharded():
            return super()._load_rng_state(checkpoint)
        checkpoints.load_random(Path(checkpoint) / f"random-{self.args.process_index}.safetensors")
        return None


class _BeforeUpdate(TrainerCallback):
    """Between gradient and update: refuse a broken step, skip an empty one, count the tokens of a good one."""

    def __init__(self, trainer: DistillationTrainer) -> None:
        self.trainer = trainer
        self._since = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.compute_steps(args, state.max_steps)  # a resumed state has the intervals of the run before

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # On several ranks accelerate loses set_epoch when it skips the batches of a resumed epoch.
        if self.trainer._order is not None:
            self.trainer._order.set_epoch(int(state.epoch or 0))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since = time.monotonic()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer = self.trainer
        terms = trainer._watch.is_finite().to(args.device)
        gradient = torch.ones_like(terms)
        # With float16 the scaler skips a step whose gradient overflowed.
        if trainer.accelerator.scaler is None:
            gradient = _gradient_is_finite(trainer.pair).to(args.device)
        broken = trainer.accelerator.reduce((~torch.stack([terms, gradient])).long(), "sum").tolist()
        if broken[0] and terms:
            raise NonFiniteLoss(
                f"step {state.global_step + 1}: a loss term broke on another rank, which names it"
            )
        if any(broken):
            raise NonFiniteLoss(trainer._watch.verdict(state.global_step + 1, self._one_row))
        tokens = int(trainer._step_counts["tokens"])
        by_step = trainer.pair.counted_by_step()
        if all(int(count) == 0 for key, count in trainer._step_counts.items() if key not in by_step):
            # Nothing was counted: no gradient at all, so that Adam's moments and weight decay stand still.
            trainer.pair.zero_grad(set_to_none=True)
        trainer.trained_tokens += tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.train_seconds += time.monotonic() - self._since

    def _one_row(self, inputs: Mapping[str, Any], row: int) -> Mapping[str, Tensor]:
        single = {key: value[row : row + 1] for key, value in inputs.items()}
        with torch.no_grad():
            return self.trainer.pair(single, self.trainer.ask_teacher(single))


def _gradient_is_finite(pair: Pair) -> Tensor:
    norms = [each.grad.norm() for each in pair.parameters() if each.grad is not None]
    return torch.stack(norms).isfinite().all() if norms else torch.ones((), dtype=torch.bool)


def _adjust(args: TrainingArguments) -> None:
    """Settings that have one right value here."""
    args.remove_unused_columns = False  # it would drop every field the objectives read
    args.logging_nan_inf_filter = False  # it writes 0.0 in place of NaN
    args.label_names = []
    args._n_gpu = min(
        args.n_gpu, 1
    )  # DataParallel does not gather sums and counts; use torchrun for several GPUs
    if args.ddp_find_unused_parameters is None:
        args.ddp_find_unused_parameters = False
