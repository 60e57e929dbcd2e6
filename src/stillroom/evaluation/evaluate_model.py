"""All marks of one model, by name, and the texts that it writes.

    loss, perplexity, agreement, teacher_kl, confidence_gap, calibration_error, teacher_calibration_error
                over the held-out responses, see `likelihood`
    bits_per_byte   of the responses: comparable between models with different tokenizers
    rouge_l     over texts generated from the prompts, see `rouge`

Only what the asked metrics need is computed; texts are written whenever there are prompts.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput
from stillroom.evaluation.bits_per_byte import bits_per_byte
from stillroom.evaluation.generation import generate
from stillroom.evaluation.likelihood import HeldOut, evaluate_likelihood
from stillroom.evaluation.rouge import rouge_l
from stillroom.teachers.ensemble import EnsembleTeacher, Live

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NEED_TEACHER = ("agreement", "teacher_kl", "confidence_gap", "teacher_calibration_error")
NEED_DATA = ("loss", "perplexity", "bits_per_byte", *NEED_TEACHER, "calibration_error")
METRICS = (*NEED_DATA, "rouge_l")

Progress = Callable[[str, int, int], None]
"""Called with the part that is going on ("likelihood" or "generation"), what is done of it, and its total."""


class PromptWithReferences(Protocol):
    """A prompt as `stillroom.data.prompts` makes it; the first of its references is shown beside the text."""

    @property
    def ids(self) -> Sequence[int]: ...

    @property
    def text(self) -> str: ...

    @property
    def references(self) -> Sequence[str]: ...


def evaluate_model(
    student: nn.Module | EnsembleTeacher,
    dataset: HeldOut | None,
    collator: Callable[[list[Any]], Mapping[str, Any]],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    metrics: Collection[str],
    prompts: Sequence[PromptWithReferences] = (),
    teacher: Live | None = None,
    vocab_size: int | None = None,
    tokens: ByteTable | None = None,
    batch_size: int = 16,
    max_new_tokens: int = 256,
    sampling_temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 10,
    no_repeat_ngram_size: int = 0,
    generation_batch_size: int = 32,
    end_ids: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, float], list[dict[str, str]]]:
    """The asked metrics by name, and for each prompt its `prompt`, `reference` and `text`.

    Arguments are those of `evaluate_likelihood` and `generate`; `tokens` says what the ids are in bytes; several
    teachers as one write no texts. `BadInput` where a metric is unknown or what it needs is missing: held-out data, a
    teacher, prompts, the bytes of tokens.
    """
    _check(metrics, dataset, teacher, prompts, tokens)
    values: dict[str, float] = {}
    samples: list[dict[str, str]] = []
    if dataset is not None and set(metrics) & set(NEED_DATA):
        values = evaluate_likelihood(
            student,
            dataset,
            collator,
            teacher=teacher if set(metrics) & set(NEED_TEACHER) else None,
            vocab_size=vocab_size,
            batch_size=batch_size,
            progress=progress and partial(progress, "likelihood"),
        )
        if "bits_per_byte" in metrics and tokens is not None:
            values["bits_per_byte"] = bits_per_byte(values["loss"] * values["tokens"], dataset, tokens)
    if prompts and not isinstance(student, EnsembleTeacher):
        texts = generate(
            student,
            prompts,
            tokenizer,
            max_new_tokens=max_new_tokens,
            sampling_temperature=sampling_temperature,
            top_p=top_p,
            seed=seed,
            batch_size=generation_batch_size,
            no_repeat_ngram_size=no_repeat_ngram_size,
            end_ids=end_ids,
            progress=progress and partial(progress, "generation"),
        ).texts
        samples = [_sample(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        if "rouge_l" in metrics:
            values["rouge_l"] = rouge_l(texts, [prompt.references for prompt in prompts])
    return {name: values[name] for name in METRICS if name in metrics}, samples


def _sample(prompt: PromptWithReferences, text: str) -> dict[str, str]:
    reference = prompt.references[0] if prompt.references else ""
    return {"prompt": prompt.text, "reference": reference, "text": text.strip()}


def _check(
    metrics: Collection[str],
    dataset: HeldOut | None,
    teacher: Live | None,
    prompts: Sequence[PromptWithReferences],
    tokens: ByteTable | None,
) -> None:
    """Before anything is computed: an hour of likelihood must not end in a missing prompt."""
    missing = {
        "held-out data (data.eval)": NEED_DATA if dataset is None else (),
        "a teacher": NEED_TEACHER if teacher is None else (),
        "a tokenizer whose bytes are known": ("bits_per_byte",) if tokens is None else (),
        "prompts to answer (evaluation.prompts)": ("rouge_l",) if not prompts else (),
    }
    problems = [
        f"unknown metric {name!r}; choose from {', '.join(METRICS)}."
        for name in metrics
        if name not in METRICS
    ]
    problems += [
        f"{name} needs {thing}, and there is none; give it or leave {name} out of evaluation.metrics."
        for thing, names in missing.items()
        for name in names
        if name in metrics
    ]
    if problems:
        raise BadInput("\n".join(problems))
