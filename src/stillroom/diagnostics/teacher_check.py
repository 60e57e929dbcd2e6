"""Is the teacher a teacher? Verdicts on what a few dozen samples show; `docs/preflight.md` has reasons and rates.

A teacher is refused for what no good one shows: chance level, the same answer to everything, ids that are off, logits
at another temperature, a template that it clearly does not know. What can be meant (a teacher weaker than its student,
a prompt that hardly matters) is a note. Nothing is asked of the student's own quality: a new one is at chance level.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from stillroom.diagnostics.logit_scale import LogitScale
from stillroom.diagnostics.paired_text import Gain
from stillroom.diagnostics.token_marks import SHIFTS, TokenMarks

CHANCE = 0.95
"""Share of ln V from which a loss, or an entropy, is that of a model that knows nothing."""
LEAST_INFORMATION = 0.02
"""Nats. Trained models, however small, lie above 2."""
SHIFT_GAIN = 1.0
"""Nats a token by which ids that are off by k must be better."""
SCALES_MEANT, SCALES_NOTED = (0.25, 1.6), (0.75, 1.25)
"""Between the first nothing is refused. The lower one is far away: models that were tuned to instructions, by rewards
above all, and those that were trained for many epochs are too sure of other people's text, down to 0.4."""
SCALE_GAIN, SCALE_SHARE = 0.1, 0.05
"""What the right scale must gain: nats a token, and a share of the loss."""
TEMPLATE_GAIN, NO_PROMPT_GAIN = 0.15, 0.3
"""Nats a token by which a response is likelier after another prompt. A model that was never tuned to prompts finds
responses likelier by about 0.15 without those that it cannot make sense of; that is no reason to refuse it."""
NO_PROMPT = "no prompt"
SURE = 3.0
"""Standard errors."""
FEW_TOKENS, FEW_SAMPLES = 32, 8
"""With fewer nobody is refused: one rare word would decide, and one answer is the same whatever is read."""

Outcome = Literal["ok", "note", "refused", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """One line of a preflight: what was looked at, what was found, what it means, and a sentence where it is not ok."""

    check: str
    value: str
    outcome: Outcome = "ok"
    sentence: str = ""


def judge_amount(marks: TokenMarks) -> Verdict | None:
    """None where there is enough text to judge a teacher by."""
    count = len(marks.loss)
    if count >= FEW_TOKENS or not marks.is_finite:
        return None
    sentence = f"the text has {count} response tokens to ask about, too few to judge the teacher by"
    return Verdict("tokens", str(count), "note", sentence)


def judge_loss(marks: TokenMarks, vocab_size: int) -> list[Verdict]:
    """Loss, entropy and information against chance. Judges only the first of its lines that fails."""
    chance = math.log(vocab_size)
    if not marks.is_finite:
        sentence = "the teacher's answers are not finite (NaN or infinity); try teacher.dtype: float32"
        return [Verdict("loss", "not finite", "refused", sentence)]
    loss, entropy = float(marks.loss.mean()), float(marks.entropy.mean())
    found = (
        f"its loss is {loss:.2f} nats a token, and a guess among all {vocab_size:,} tokens has {chance:.2f}"
    )
    verdicts = [
        Verdict("loss", f"{loss:.2f} (chance {chance:.2f})"),
        Verdict("top-1", f"{100 * float(marks.hit.mean()):.0f} % right"),
        Verdict("entropy", f"{entropy:.2f} (uniform {chance:.2f})"),
        Verdict("information", f"{marks.information:.2f}"),
    ]
    if entropy > CHANCE * chance:
        verdicts[2] = Verdict(
            "entropy",
            verdicts[2].value,
            "refused",
            f"the teacher finds all tokens alike likely (entropy {entropy:.2f} of at most {chance:.2f} nats): its "
            "weights are zero or have never been trained; give the folder of a trained model",
        )
    elif marks.information < LEAST_INFORMATION:
        verdicts[3] = Verdict(
            "information",
            verdicts[3].value,
            "refused",
            "the teacher says the same whatever it reads: its weights are damaged or have never been trained; give the "
            "folder of a trained model",
        )
    elif loss > CHANCE * chance:
        verdicts[0] = Verdict(
            "loss", verdicts[0].value, "refused", f"the teacher is at chance level: {found}; {_why(marks)}"
        )
    return verdicts


def _why(marks: TokenMarks) -> str:
    if float(marks.repeated.mean()) < 0.5 * float(marks.loss.mean()):
        return (
            "it repeats the token that it has just read, as untrained weights do whose head is their embedding, and as "
            "training on labels that were not shifted does"
        )
    return (
        "its weights are random, or its ids mean other tokens; give the folder of a trained model with its own "
        "tokenizer"
    )


def judge_shift(marks: TokenMarks) -> Verdict:
    """Are the rows of its head off by a constant?"""
    losses = {shift: each for each, shift in zip(marks.shifted.unbind(1), SHIFTS, strict=True)}
    best = min(losses, key=lambda shift: float(losses[shift].mean()))
    if not _is_lower(losses[best], marks.loss, SHIFT_GAIN):
        return Verdict("ids", "as the tokenizer's")
    return _shifted(best, losses[best], marks.loss, "each token that it predicts")


def judge_reading(read: Mapping[int, TokenMarks], marks: TokenMarks) -> Verdict | None:
    """Are head and embedding off by one constant? `read` holds marks by what was added to all ids of the text.

    None where no shift is the cure. Worth the passes only for a teacher that is refused anyway: it gives the reason.
    """
    losses = {shift: each.loss for shift, each in read.items()}
    best = min(losses, key=lambda shift: float(losses[shift].mean()))
    if not _is_lower(losses[best], marks.loss, SHIFT_GAIN):
        return None
    return _shifted(best, losses[best], marks.loss, "every token that it reads and predicts")


def _shifted(shift: int, better: Tensor, loss: Tensor, what: str) -> Verdict:
    return Verdict(
        "ids",
        f"off by {shift:+d}",
        "refused",
        f"the teacher's ids are shifted: its loss is {float(loss.mean()):.2f} nats a token as they are and "
        f"{float(better.mean()):.2f} where {shift:+d} is added to {what}; convert its weights again with the tokenizer "
        "that they were trained with",
    )


def judge_scale(scale: LogitScale, loss: float) -> Verdict:
    """Is this the temperature that the teacher was trained at?"""
    value = f"{scale.scale:.2f} (1: as trained)"
    matters = scale.gain > max(SCALE_GAIN, SCALE_SHARE * loss) and scale.gain > SURE * scale.error
    low, high = SCALES_MEANT
    divided = f"divided by {scale.scale:.2g}" if scale.scale > 1 else f"multiplied by {1 / scale.scale:.2g}"
    sentence = (
        f"the teacher's logits look as if they had been {divided}: at another temperature its loss would be "
        f"{scale.gain:.2f} nats a token lower"
    )
    if matters and not low <= scale.scale <= high:
        cure = "; give the teacher as it was trained, and set the temperature in the objective"
        return Verdict("temperature", value, "refused", sentence + cure)
    noted_low, noted_high = SCALES_NOTED
    if matters and not noted_low <= scale.scale <= noted_high:
        why = (
            "; models tuned to instructions, or trained for many epochs, may be so sure"
            if scale.scale < 1
            else ""
        )
        return Verdict("temperature", value, "note", sentence + why)
    return Verdict("temperature", value)


def judge_template(name: str, gains: Mapping[str, Gain | None], takes: Collection[str] = ()) -> Verdict:
    """Gains of other templates, and of `NO_PROMPT`, over the template `name` of the recipe.

    Only a template among `takes`, which the data would let a person choose, or no prompt at all is reason to refuse.
    """
    known = {other: gain for other, gain in gains.items() if gain is not None}
    if not known:
        return Verdict("template", f"{name}, not compared", "unknown")
    for other in sorted(known, key=lambda other: -known[other].mean):
        gain, least = known[other], NO_PROMPT_GAIN if other == NO_PROMPT else TEMPLATE_GAIN
        is_clear = gain.mean > least and gain.t > SURE and gain.samples >= FEW_SAMPLES
        if is_clear and (other in takes or other == NO_PROMPT):
            cure = (
                f"set data.template: {other}"
                if other in takes
                else "give it the prompts that it was trained with"
            )
            return Verdict(
                "template", _shown(name, other, gain), "refused", f"{_unexpected(name, other, gain)}; {cure}"
            )
    best = max(known, key=lambda other: known[other].mean)
    if known[best].mean > 0 and known[best].t > 2:
        return Verdict(
            "template", _shown(name, best, known[best]), "note", _unexpected(name, best, known[best])
        )
    value = f"{name}, better than {len(known)} others"
    if NO_PROMPT in known and known[NO_PROMPT].t > -2:
        sentence = "the prompts hardly help the teacher: its loss is about as low without them"
        return Verdict("template", _shown(name, NO_PROMPT, known[NO_PROMPT]), "note", sentence)
    return Verdict("template", value)


def _shown(name: str, other: str, gain: Gain) -> str:
    return f"{name}; {other} {gain.mean:+.2f} nats"


def _unexpected(name: str, other: str, gain: Gain) -> str:
    what = "without any prompt" if other == NO_PROMPT else f"with the template {other}"
    return (
        f"the teacher does not expect the template {name}: {what} its loss on the same responses is {gain.mean:.2f} "
        f"nats a token lower ({gain.samples} samples, t = {gain.t:.1f})"
    )


def judge_student(student: Tensor, teacher: Tensor, unit: str = "token") -> Verdict:
    """Losses `[N]` of both on the same text, in nats a `unit`. A weaker teacher may be meant, so it is only said."""
    ours, theirs = float(student.mean()), float(teacher.mean())
    value = f"student {ours:.2f}, teacher {theirs:.2f}" + (f" a {unit}" if unit != "token" else "")
    if not _is_lower(student, teacher, 0.0):
        return Verdict("against the student", value)
    return Verdict(
        "against the student",
        value,
        "note",
        f"the teacher is worse than the student is already: {theirs:.2f} against {ours:.2f} nats a {unit}; what "
        "is learned of it are its mistakes, too",
    )


def _is_lower(one: Tensor, other: Tensor, by: float) -> bool:
    """Clearly, token by token: more than `by` nats, and `SURE` standard errors away from no difference."""
    difference = other - one
    error = float(difference.std()) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    mean = float(difference.mean())
    return mean > by and mean > SURE * error
