"""What happens beside training: metrics go to disk, progress to a person, and a signal ends the run at a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from stillroom.core.progress import Advance, Display
from stillroom.core.record import METRICS, append_jsonl
from stillroom.training.trainer import DistillationTrainer


class RecordMetrics(TrainerCallback):
    """Appends every log of the trainer to metrics.jsonl, training and evaluation alike."""

    def __init__(self, trainer: DistillationTrainer, run: Path) -> None:
        self.trainer = trainer
        self.path = run / METRICS

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs or "train_loss" in logs:
            return  # "train_loss" marks the Trainer's own summary at the end
        split = "eval" if any(key.startswith("eval_") for key in logs) else "train"
        row = {
            "step": state.global_step,
            "tokens": self.trainer.trained_tokens,
            "seconds": round(self.trainer.train_seconds, 3),
            "split": split,
        }
        row |= {key.removeprefix("eval_"): value for key, value in logs.items() if key not in row}
        append_jsonl(self.path, row)


class ShowProgress(TrainerCallback):
    """Steps, loss and speed, through whatever the command line shows them with."""

    def __init__(self, trainer: DistillationTrainer, advance: Advance) -> None:
        self.trainer = trainer
        self.advance = advance
        self._detail = ""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            speed = self.trainer.trained_tokens / max(self.trainer.train_seconds, 1e-9)
            self._detail = f"loss {logs['loss']:.3f} · {speed:,.0f} response tokens/s"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.advance(state.global_step, state.max_steps, self._detail)


class StopAtStep(TrainerCallback):
    """The first interrupt finishes the step and saves a checkpoint; the second one leaves at once."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.stopped = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        previous = {each: signal.signal(each, self._on_signal) for each in wanted}
        try:
            yield
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)

    def _on_signal(self, number: int, frame: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        self.display.say("finishing this step and saving; once more to leave at once, without saving")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.world_size > 1:  # a signal reaches the ranks at different steps: they stop at the same one
            flag = torch.tensor(int(self.stopped), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.stopped = bool(flag)
        if self.stopped:
            control.should_training_stop = True
            control.should_save = True
