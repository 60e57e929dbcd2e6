"""The result in plain words, from the numbers alone: worse is called worse, and what is missing is said."""

from collections.abc import Sequence
from typing import Any

from stillroom.report import numbers
from stillroom.report.markup import label
from stillroom.report.numbers import finite
from stillroom.report.read import Run
from stillroom.report.results import gap_closed, held_out_loss

_ENDS = {
    "running": "The run has not ended; this is what it has recorded so far.",
    "stopped": "The run was stopped before its end; this is what it had recorded.",
    "failed": "The run failed; this is what it had recorded.",
}


def headline(runs: Sequence[Run]) -> list[str]:
    """What was distilled into what, what came of it, how the other runs compare: one sentence each."""
    main, *others = runs
    sentences = [_what(main), _ENDS.get(main.summary.exit, ""), _outcome(main), _beside(main, others)]
    return [sentence for sentence in sentences if sentence]


def model_name(run: Run, side: str) -> str:
    """The last part of a model's source, as people call it; of several teachers, all of them."""
    sources = str(run.summary.models.get(side, {}).get("source") or "").replace("\\", "/").split(" + ")
    return label(" + ".join(source.rstrip("/").rsplit("/", 1)[-1] for source in sources), 60)


def _what(run: Run) -> str:
    student = _with_size(run, "student") or "a student"
    teacher = _with_size(run, "teacher")
    summary = run.summary
    how = f"distilled {teacher} into {student}" if teacher else f"trained {student} without a teacher"
    spent = f" on {numbers.amount(summary.tokens)} response tokens" if summary.tokens else ""
    time = f" in {numbers.duration(summary.seconds)}" if summary.seconds > 0 else ""
    return f"The run {label(run.label, 40)} {how}{spent}{time}."


def _with_size(run: Run, side: str) -> str:
    name, size = model_name(run, side), finite(run.summary.models.get(side, {}).get("parameters"))
    return f"{name} ({numbers.amount(size)} parameters)" if name and size else name


def _outcome(run: Run) -> str:
    summary = run.summary
    before, after, teacher = map(held_out_loss, (summary.baseline, summary.final, summary.teacher))
    if after is None:
        value = summary.final.get("loss", summary.final.get("perplexity"))
        diverged = isinstance(value, float)
        return "Its held-out loss is not a finite number." if diverged else "It has no held-out evaluation."
    now = _perplexity(summary.final, after)
    if before is None:
        outcome = f"Held-out perplexity is {now}"
    else:
        then = _perplexity(summary.baseline, before)
        verb = "fell" if after < before else "rose" if after > before else "stayed"
        outcome = f"Held-out perplexity {verb} from {then} to {now}"
        if after > before:
            outcome += ", so training made the student worse"
    if teacher is None:
        return outcome + "."
    outcome += f"; the teacher has {_perplexity(summary.teacher, teacher)}"
    share = gap_closed(before, after, teacher)
    if share is not None and share >= 0:
        return f"{outcome}. That closes {numbers.percent(share, 0)} of the gap to the teacher."
    if before is not None and before <= teacher:
        return f"{outcome}. Even before training the student was no worse, so there was no gap to close."
    return outcome + "."


def _beside(main: Run, others: Sequence[Run]) -> str:
    mine = held_out_loss(main.summary.final)
    rivals = [(loss, run) for run in others if (loss := held_out_loss(run.summary.final)) is not None]
    if mine is None or not rivals:
        return ""
    loss, best = min(rivals, key=lambda rival: rival[0])
    text = _perplexity(best.summary.final, loss)
    name = label(best.label, 40)
    if len(rivals) > 1:
        place = 1 + sum(rival < mine for rival, _ in rivals)
        field = (
            f"the {len(rivals) + 1} runs that were evaluated"
            if len(rivals) < len(others)
            else f"{len(rivals) + 1} runs"
        )
        if place == 1:
            return f"It is the best of {field}; next comes {name} with {text}."
        return f"It is number {place} of {field}; the best is {name} with {text}."
    if text == _perplexity(main.summary.final, mine):
        return f"The run {name} reached the same."
    return f"The run {name} did {'worse' if loss > mine else 'better'}, with {text}."


def _perplexity(metrics: dict[str, Any], loss: float) -> str:
    value = finite(metrics.get("perplexity"))
    if value is None:
        return f"e^{loss:.2f}" if loss > 30 else numbers.perplexity(2.718281828459045**loss)
    return numbers.perplexity(value)
