"""What the name of a metric says: which direction is the better one, and whether it is a detail that tables leave out.

    lower     loss, lm_loss, perplexity, teacher_kl, calibration_error, confidence_gap, perplexity_to_teacher
    higher    rouge_l, rouge_l/seed10, accuracy, exact_match, f1, pass@1, agreement, rouge_l_to_teacher
    neither   documents, cut, acc_stderr, rouge_l/deviation, outcome/passed, and every name that is not known

Where neither is better nobody wins: no difference is taken and nothing is ordered by it.
"""

from typing import Literal

Better = Literal["lower", "higher", ""]
TO_TEACHER = "_to_teacher"
"""The end of names of metrics whose references are answers of the teacher."""

_LOWER_ENDS = ("loss", "perplexity", "_kl", "error", "gap", "bits_per_byte", "brier_score")
_HIGHER_STARTS = ("rouge", "acc", "exact", "agreement", "f1", "em_", "pass@", "matthews", "mcc", "pearson")
_HIGHER_STARTS += ("spearman", "bleu", "chrf", "score")
_FACTS = frozenset({"documents", "train_documents", "shots", "cut", "prompts_cut", "tokens"})
_SPREADS = ("_stderr", "/deviation")


def better(metric: str) -> Better:
    """The better direction of a metric, by its name alone."""
    if metric in _FACTS or metric.endswith(_SPREADS):
        return ""
    name = metric.partition("/")[0].removesuffix(TO_TEACHER).lower()
    if name.endswith(_LOWER_ENDS):
        return "lower"
    return "higher" if f"{name}_".startswith(_HIGHER_STARTS) else ""


def is_detail(metric: str) -> bool:
    """Parts of a metric (`acc/anatomy`, `rouge_l/seed10`), its spread, and facts about an exam."""
    return "/" in metric or metric in _FACTS or metric.endswith(_SPREADS)
