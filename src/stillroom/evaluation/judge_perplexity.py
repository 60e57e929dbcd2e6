"""How likely a third model finds the texts that a student writes: the perplexity of generations.

    exp( - 1/N sum_n log J(t_n | prompt, t_<n) )

over all N tokens of all texts, J being the judge, which reads prompts and texts with its own tokenizer and the same
protocol. Neither the prompt nor an end token is scored: a text cut at its length must not be worse for that. Low values
say fluent, not right: a model that repeats itself pleases a judge. Texts are compared under one judge only.

Paper:    SHARP reports "perplexity of generations" and does not name the judge
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from stillroom.data.collate import Collator
from stillroom.data.columns import Sample
from stillroom.evaluation.exam_text import exam_prompts, exam_responses
from stillroom.evaluation.likelihood import evaluate_likelihood
from stillroom.evaluation.protocol import CLEAN, Protocol

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def judge_perplexity(
    judge: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    samples: Sequence[Sample],
    texts: Sequence[str],
    protocol: Protocol,
    *,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> float | None:
    """Perplexity under `judge` of `texts`, one for each sample; None where all of them are empty.

    Of the protocol the template and the lengths count: a judge always reads the end of a long prompt.
    """
    reading = replace(CLEAN, template=protocol.template, max_length=protocol.max_length)
    said = [
        replace(sample, response=text, references=(text,))
        for sample, text in zip(samples, texts, strict=True)
    ]
    prompts, _ = exam_prompts(said, tokenizer, reading)
    dataset = exam_responses(said, prompts, tokenizer, reading, ends=False)
    if dataset is None:
        return None
    return evaluate_likelihood(
        judge, dataset, Collator(padding_id=0), batch_size=batch_size, progress=progress
    )["perplexity"]
