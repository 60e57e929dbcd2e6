"""Where exams are sat: tokenizers and configurations are held against each other first, weights come when needed.

Which exams there are says `evaluation.exams`; each kind has its own examiner, and this file only knows which.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from stillroom.alignment.vocabulary import VocabularyMatch
from stillroom.core.errors import BadInput
from stillroom.core.progress import Advance
from stillroom.evaluation.text_exam import TextExaminer, TextMarks
from stillroom.recipe.identity import weights_hash
from stillroom.recipe.models import check_causal, load_config, load_student, load_teacher, load_tokenizer
from stillroom.recipe.schema import Student, Teacher
from stillroom.recipe.sitting import CODE_SETTINGS, GLUE_SETTINGS, Sitting
from stillroom.recipe.vocabularies import shared_vocabulary
from stillroom.teachers.live import LiveTeacher

if TYPE_CHECKING:
    from torch import nn


class ExaminationRoom:
    """The models of one sitting. `BadInput` at once where they cannot sit it; weights are loaded by the first exam."""

    def __init__(self, sitting: Sitting) -> None:
        import torch

        self.sitting = sitting
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        named = {"student": sitting.model, "teacher": sitting.teacher, "judge": sitting.judge}
        self.sources = {role: source for role, source in named.items() if source}
        self.tokenizers = {role: load_tokenizer(each, role) for role, each in self.sources.items()}
        self.configs = {role: load_config(each, role) for role, each in self.sources.items()}
        for role, each in self.sources.items():
            check_causal(self.configs[role], each, role)
        self.match = self._match()

    def _match(self) -> VocabularyMatch | None:
        """What student and teacher share. None where that is not one vocabulary and no exam asks the teacher: then it
        has no part in the sitting."""
        pair = [role for role in ("student", "teacher") if role in self.sources]
        try:
            return shared_vocabulary(
                {role: self.tokenizers[role] for role in pair}, {role: self.configs[role] for role in pair}
            )
        except BadInput:
            if any(exam.needs_teacher for exam in self.sitting.exams.values()):
                raise
            return None

    def helpers(self) -> dict[str, Any]:
        """Who takes part, by the hash of their weights; None where these are not on this machine yet."""
        return {role: {"source": each, "weights": weights_hash(each)} for role, each in self.sources.items()}

    def environment(self) -> dict[str, str]:
        return {"device": self.device, "dtype": str(self.configs["student"].dtype).removeprefix("torch.")}

    def sit(self, name: str, advance: Advance) -> TextMarks:
        """One exam. Every kind gives marks, and texts where it has any."""
        kind = self.sitting.exams[name].kind
        sit = {"text": self._text, "harness": self._harness, "glue": self._glue, "code": self._code}[kind]
        return sit(name, advance)

    @cached_property
    def student(self) -> "nn.Module":
        return load_student(Student(model=self.sitting.model), seed=0).to(self.device).eval()

    @cached_property
    def teacher(self) -> LiveTeacher | None:
        if not self.sitting.teacher or self.match is None:
            return None
        weights = load_teacher(Teacher(model=self.sitting.teacher)).to(self.device)
        return LiveTeacher(weights, vocab_size=self.match.shared, vocabulary=self.match.identity)

    @cached_property
    def judge(self) -> "nn.Module | None":
        if not self.sitting.judge:
            return None
        return load_student(Student(model=self.sitting.judge), seed=0).to(self.device).eval()

    def _text(self, name: str, advance: Advance) -> TextMarks:
        exam = self.sitting.exams[name].text
        examiner = TextExaminer(
            self.student,
            self.tokenizers["student"],
            self.sitting.protocol,
            teacher=self.teacher,
            vocab_size=self.match.shared if self.teacher and self.match else None,
            judge=self.judge,
            judge_tokenizer=self.tokenizers.get("judge"),
            batch_size=self.sitting.batch_size,
        )
        return examiner.examine(
            self.sitting.texts[name].samples, has_references=exam.has_references, progress=advance
        )

    def _harness(self, name: str, advance: Advance) -> TextMarks:
        from stillroom.evaluation.harness import run_harness

        task, shots = self.sitting.exams[name].task, self.sitting.shots.get(name)
        found = run_harness(
            self.student,
            self.tokenizers["student"],
            [task],
            sources={task: self.sitting.sources[name]},
            shots=None if shots is None else {task: shots},
            limit=self.sitting.limit,
            batch_size=self.sitting.batch_size,
            progress=lambda part, done, total: advance(done, total),
        )
        return TextMarks(found[task])

    def _glue(self, name: str, advance: Advance) -> TextMarks:
        from stillroom.evaluation.glue import fine_tune

        values = fine_tune(
            self.sitting.model,
            self.sitting.exams[name].task,
            self.sitting.sources[name],
            limit=self.sitting.limit,
            progress=advance,
            **GLUE_SETTINGS,
        )
        return TextMarks(
            values, notes=["the model was fine-tuned for this exam; the development set is the reported one."]
        )

    def _code(self, name: str, advance: Advance) -> TextMarks:
        from stillroom.evaluation.code.exam import run_code_exam

        values, rows = run_code_exam(
            self.student,
            self.tokenizers["student"],
            name,
            self.sitting.sources[name],
            allow=self.sitting.allow_code_execution,
            batch_size=self.sitting.batch_size,
            limit=self.sitting.limit,
            inside_container=self.sitting.inside_container,
            progress=advance,
            **CODE_SETTINGS,
        )
        return TextMarks(values, rows)
