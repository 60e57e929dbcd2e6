"""A model's answers to programming tasks, and the share of them that pass their tests.

    pass@k                              in percent, see `pass_at_k`
    outcome/passed, outcome/error, ...  how many programs ended in which way, see `outcome`
    prompts_cut                         prompts that lost their beginning because the model has too few positions

Nothing is run without consent: what a model writes is run as it is. See docs/sandbox.md for what holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import nn

from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance
from stillroom.data.encode import keep_end
from stillroom.data.templates import Piece
from stillroom.data.tokens import opening_ids, tokenize
from stillroom.evaluation.code.mark import count_kinds, run_programs
from stillroom.evaluation.code.outcome import Limits, Outcome
from stillroom.evaluation.code.pass_at_k import pass_at_k
from stillroom.evaluation.code.sandbox import require_sandbox
from stillroom.evaluation.code.tasks import CodeTask, code_tasks, cut_at
from stillroom.evaluation.generation import generate
from stillroom.taps.anatomy import causal_lm

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class _Prompt:
    ids: list[int]


def run_code_exam(
    model: nn.Module,
    tokenizer: "PreTrainedTokenizerBase",
    name: str,
    source: str | None = None,
    *,
    allow: bool = False,
    samples_per_task: int = 1,
    ks: Sequence[int] = (1,),
    sampling_temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 10,
    max_new_tokens: int = 512,
    batch_size: int = 8,
    limit: int | None = None,
    timeout: float = 3.0,
    inside_container: bool = False,
    progress: Advance | None = None,
) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Marks by name, and for each program its `prompt`, `reference`, `text`, `outcome` and `detail`.

    `allow` is the consent to run what the model writes. `name` is one of `tasks.EXAMS`; `source` a file or
    Hub name with its data; `limit` takes the first tasks only. `timeout` counts seconds of processor time.
    `BadInput` without consent, without a sandbox, or where settings contradict each other.
    """
    _check(name, allow, samples_per_task, ks, sampling_temperature, limit, timeout)
    require_sandbox(inside_container=inside_container)  # before hours of generation
    tasks = code_tasks(name, source)[:limit]
    prompts, cut = _prompts(model, tokenizer, tasks, max_new_tokens)
    texts = generate(
        model,
        [prompt for prompt in prompts for _ in range(samples_per_task)],
        tokenizer,
        max_new_tokens=max_new_tokens,
        sampling_temperature=sampling_temperature,
        top_p=top_p,
        seed=seed,
        batch_size=batch_size,
        progress=progress and partial(progress, detail="writing programs"),
    ).texts
    answered = [task for task in tasks for _ in range(samples_per_task)]
    outcomes = run_programs(
        [task.program(text) for task, text in zip(answered, texts, strict=True)],
        Limits(seconds=timeout),
        inside_container=inside_container,
        progress=progress and partial(progress, detail="running them"),
    )
    marks = _marks(outcomes, samples_per_task, ks) | {"prompts_cut": float(cut)}
    samples = [
        _sample(task, text, outcome) for task, text, outcome in zip(answered, texts, outcomes, strict=True)
    ]
    return marks, samples


def _check(
    name: str,
    allow: bool,
    samples: int,
    ks: Sequence[int],
    temperature: float,
    limit: int | None,
    timeout: float,
) -> None:
    if not allow:
        raise BadInput(
            f"{name} runs programs that the model writes; say --allow-code-execution to allow it (they run in a "
            "sandbox, see docs/sandbox.md), or leave this exam out."
        )
    if not ks or min(ks) < 1 or max(ks) > samples:
        raise BadInput(
            f"pass@k for k = {', '.join(map(str, ks)) or 'none'} needs at least k programs for each task, got "
            f"{samples}; raise samples_per_task or lower k."
        )
    if samples > 1 and temperature == 0:
        raise BadInput(
            f"{samples} programs for each task would all be the same at sampling temperature 0; set one above "
            "0 (0.2 and 0.8 are usual) or ask for one program."
        )
    if limit is not None and limit < 1:
        raise BadInput(f"limit must be at least 1 task, got {limit}.")
    if not 0 < timeout < float("inf"):
        raise BadInput(f"timeout must be a number of seconds above 0, got {timeout}.")


def _prompts(
    model: nn.Module, tokenizer: "PreTrainedTokenizerBase", tasks: Sequence[CodeTask], max_new_tokens: int
) -> tuple[list[_Prompt], int]:
    """Prompts as the tokenizer opens and encodes them, cut to the end that fits beside the answer; how many were."""
    config = causal_lm(model).config.get_text_config(decoder=True)
    positions = getattr(config, "max_position_embeddings", None)
    room = None if positions is None else positions - max_new_tokens
    if room is not None and room < 1:
        raise BadInput(
            f"the model has {positions} positions and {max_new_tokens} new tokens leave none for the task; lower "
            "max_new_tokens."
        )
    opening = opening_ids(tokenizer)
    rows = tokenize([Piece(task.prompt, is_literal=True) for task in tasks], tokenizer)
    if room is None:
        return [_Prompt([*opening, *row]) for row in rows], 0
    cut = sum(len(opening) + len(row) > room for row in rows)
    return [_Prompt(keep_end(opening, row, room)) for row in rows], cut


def _marks(outcomes: Sequence[Outcome], samples: int, ks: Sequence[int]) -> dict[str, float]:
    starts = range(0, len(outcomes), samples)
    passed = [sum(each.kind == "passed" for each in outcomes[start : start + samples]) for start in starts]
    marks = {f"pass@{k}": 100 * pass_at_k(passed, samples, k) for k in ks}
    return marks | {f"outcome/{kind}": float(count) for kind, count in count_kinds(outcomes).items()}


def _sample(task: CodeTask, text: str, outcome: Outcome) -> dict[str, str]:
    return {
        "task": task.name,
        "prompt": task.prompt,
        "reference": task.solution,
        "text": cut_at(text, task.stops),
        "outcome": outcome.kind,
        "detail": outcome.detail,
    }
