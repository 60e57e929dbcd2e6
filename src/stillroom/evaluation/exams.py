"""The catalog of exams by name: texts, questions with choices, fine-tuning, code. Listing imports nothing heavy."""

import difflib
from dataclasses import dataclass
from typing import Literal

from stillroom.core.errors import BadInput
from stillroom.data.evaluation_sets import SETS, EvaluationSet

Kind = Literal["text", "harness", "glue", "code"]
OWN_TEXT = "your own held-out text"


@dataclass(frozen=True)
class Exam:
    """One exam that a model can sit."""

    name: str
    kind: Kind
    about: str

    @property
    def needs_teacher(self) -> bool:
        """Whether the teacher's answers are the references, since the set has none."""
        return self.kind == "text" and self.name in SETS and not SETS[self.name].has_references

    @property
    def task(self) -> str:
        """What lm-eval calls an exam of kind "harness", and the task of one of kind "glue"."""
        return _HARNESS[self.name][0] if self.name in _HARNESS else self.name.partition(":")[2]

    @property
    def text(self) -> EvaluationSet:
        """The set behind an exam of texts; a set of one's own under any other name."""
        return SETS.get(self.name) or EvaluationSet(self.name, OWN_TEXT, None, split="train")


_HARNESS = {
    "mmlu": ("mmlu", "multiple choice in 57 subjects, 5 shots"),
    "drop": ("drop", "reading with numbers, 3 shots, exact match and F1"),
    "bbh": ("bbh_fewshot", "BIG-Bench Hard, answers without reasoning, 3 shots"),
    "bbh_cot": ("bbh_cot_fewshot", "BIG-Bench Hard, answers after reasoning, 3 shots"),
    "gsm8k": ("gsm8k", "word problems, 5 shots"),
}
"""Task of lm-eval (where "bbh" alone means answers after reasoning) and what it is."""

ANY_TASK = "harness:"
_GLUE = ("cola", "sst2", "mrpc", "rte", "qqp", "stsb", "mnli", "mnli-mm", "qnli", "wnli")
_CODE = {
    "mbpp": "short Python functions, 3 shots, run against their tests",
    "mbpp_docstring": "the same from docstrings, without shots",
    "humaneval": "Python functions from docstrings, run against their tests",
}

EXAMS: dict[str, Exam] = (
    {name: Exam(name, "text", each.about) for name, each in SETS.items()}
    | {name: Exam(name, "harness", about) for name, (_, about) in _HARNESS.items()}
    | {
        f"glue:{task}": Exam(f"glue:{task}", "glue", f"fine-tuned on {task}, the mark on its development set")
        for task in _GLUE
    }
    | {name: Exam(name, "code", about) for name, about in _CODE.items()}
)


def exam_named(name: str, source: str | None = None) -> Exam:
    """The exam `name`; "harness:TASK" is any task of lm-eval, and any name with a `source` a text of one's own."""
    for known in (name, f"glue:{name}"):  # tasks of GLUE are known without their family, too
        if known in EXAMS:
            return EXAMS[known]
    if name.startswith(ANY_TASK) and name != ANY_TASK:
        return Exam(name, "harness", "a task of lm-eval under its own name")
    if source is not None and name.isidentifier():
        return Exam(name, "text", OWN_TEXT)
    near = difflib.get_close_matches(name, EXAMS, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else "`stillroom evaluate --list` shows all; for others NAME=PATH."
    )
    raise BadInput(f"unknown exam {name!r}; {hint}")
