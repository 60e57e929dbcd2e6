"""GLUE by fine-tuning: a classifier on top of a language model, trained on a task and marked on its development set.

The head is one linear layer on the last token of the text, random from the seed; everything is trained, in
float32, with AdamW and a learning rate that falls in a line to zero.

Paper:    Wang et al. (2019), GLUE
Code:     `transformers.AutoModelForSequenceClassification` and `Trainer`; max_length 128 as in the BabyLM pipeline
Differs:  no epoch is chosen by its mark: the development set is what is reported, so choosing on it would flatter
          the model (the BabyLM pipeline stops early on it)
          two sentences are parted by a line break where the tokenizer puts nothing between them
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput
from stillroom.evaluation._glue_data import TASKS, Example, GlueTask, read_glue
from stillroom.evaluation.classification import accuracy, f1, matthews, pearson, spearman

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

METRICS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}

Progress = Callable[[int, int], None]


def fine_tune(
    model: str,
    task: str,
    source: str | None = None,
    *,
    epochs: int = 3,
    learning_rate: float = 5e-5,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 10,
    limit: int | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a classifier from `model` (a folder or a Hub name) on `task` and return its marks on the development set.

    `source` is a folder with train.tsv and dev.tsv as GLUE publishes them, or the folder above; without it the Hub's
    `nyu-mll/glue` is read. `limit` takes as many samples of each set: the first ones for marking, for training such
    as are drawn with `seed`. Marks are those of the task, from -1 or 0 to 1, and each as "accuracy/majority" for
    always answering with the commonest label of the training set; `loss` (nats, or squared error for stsb),
    `documents` and `train_documents`. `progress(done, total)` counts steps. `BadInput` for an unknown task, a file
    of another form, a model that cannot be loaded.
    """
    if task not in TASKS:
        raise BadInput(f"{task} is no GLUE task; choose from {', '.join(TASKS)}.")
    if (
        min(epochs, batch_size) < 1
        or max_length < 8
        or not learning_rate > 0
        or (limit is not None and limit < 1)
    ):
        raise BadInput(
            "fine-tuning needs epochs, batch_size and limit of at least 1, max_length of 8, and a learning rate above "
            f"0; got epochs {epochs}, batch_size {batch_size}, limit {limit}, max_length {max_length}, learning rate "
            f"{learning_rate}."
        )
    kind = TASKS[task]
    train, dev = read_glue(task, source)
    if limit is not None:
        train = random.Random(seed).sample(train, min(limit, len(train)))
        dev = dev[:limit]
    with _seeded(seed), _quiet():
        classifier, tokenizer = load_classifier(model, kind)
        outputs, loss = _train_and_predict(
            classifier,
            [encode(tokenizer, example, kind, max_length) for example in train],
            [encode(tokenizer, example, kind, max_length) for example in dev],
            tokenizer,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
    predictions = outputs.argmax(axis=-1).tolist() if kind.labels else outputs[:, 0].tolist()
    marks = _marks(kind, predictions, [each.label for each in train], [each.label for each in dev])
    return marks | {"loss": loss, "documents": float(len(dev)), "train_documents": float(len(train))}


def _marks(
    kind: GlueTask, predictions: Sequence[float], train: Sequence[float], dev: Sequence[float]
) -> dict[str, float]:
    marks = {name: METRICS[name](predictions, dev) for name in kind.metrics}
    if kind.labels:
        commonest = max(sorted(set(train)), key=train.count)
        marks |= {f"{name}/majority": METRICS[name]([commonest] * len(dev), dev) for name in kind.metrics}
    return marks


def load_classifier(model: str, kind: GlueTask) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The model with a new head, and its tokenizer, padding on the right: on the left, absolute positions shift."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, padding_side="right", trust_remote_code=False)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        classifier, found = AutoModelForSequenceClassification.from_pretrained(
            model,
            num_labels=len(kind.labels) or 1,
            problem_type=None if kind.labels else "regression",
            pad_token_id=tokenizer.pad_token_id,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{model} cannot be fine-tuned: {reason}") from error
    if tokenizer.pad_token_id is None:
        raise BadInput(
            f"{model} cannot be fine-tuned in batches: its tokenizer has neither a padding nor an end token."
        )
    body = f"{classifier.base_model_prefix}."
    missing = sorted(key for key in found["missing_keys"] if key.startswith(body) and "pooler" not in key)
    if missing:
        raise BadInput(
            f"the weights of {model} are not whole: {missing[0]!r} is missing; it would be random. Get a complete copy."
        )
    return classifier, tokenizer


def encode(
    tokenizer: "PreTrainedTokenizerBase", example: Example, kind: GlueTask, max_length: int
) -> dict[str, Any]:
    """Ids of one example, at most `max_length`, and its label; the longer sentence loses its end."""
    second = example.second
    if second is not None and not _parts_pairs(tokenizer):
        second = "\n" + second
    encoded = tokenizer(example.first, second, truncation="longest_first", max_length=max_length)
    return {**encoded, "labels": int(example.label) if kind.labels else example.label}


def _parts_pairs(tokenizer: "PreTrainedTokenizerBase") -> bool:
    return tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False)


def _train_and_predict(
    classifier: "PreTrainedModel",
    train: list[dict[str, Any]],
    dev: list[dict[str, Any]],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
    progress: Progress | None,
) -> tuple["np.ndarray", float]:
    """Outputs `[N, labels]` on the development set and the mean loss there."""
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch_size,
            per_device_eval_batch_size=batch_size,
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(
            model=classifier,
            args=arguments,
            train_dataset=train,  # pyrefly: ignore
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[_counter(progress)] if progress is not None else None,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        result = trainer.predict(dev)  # pyrefly: ignore
    assert result.metrics is not None, "the development set has labels"
    return result.predictions, float(result.metrics["test_loss"])  # pyrefly: ignore


def _counter(progress: Progress) -> "TrainerCallback":
    from transformers import TrainerCallback

    class Counter(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress(state.global_step, state.max_steps)

    return Counter()


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of all libraries from `seed`, and afterwards as if nothing had happened."""
    import numpy as np
    import torch
    from transformers import set_seed

    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars, and no warning that the head is new: it is meant to be."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
