import pytest

from stillroom.core.errors import BadInput
from stillroom.evaluation.exams import EXAMS, exam_named


def test_every_kind_is_there_and_says_what_it_needs():
    assert {exam.kind for exam in EXAMS.values()} == {"text", "harness", "glue", "code"}
    in_need = [name for name, exam in EXAMS.items() if exam.needs_teacher]
    assert in_need == ["koala", "wizardlm", "alpaca_eval"]
    assert all(exam.about for exam in EXAMS.values())


def test_tasks_have_the_names_of_those_who_know_them():
    assert exam_named("bbh").task == "bbh_fewshot"
    assert exam_named("harness:arc_easy").task == "arc_easy"
    assert exam_named("glue:rte").task == "rte"
    assert exam_named("rte", "data/glue") == exam_named("glue:rte")


def test_a_file_under_another_name_is_a_text_of_ones_own():
    exam = exam_named("mine", "mine.jsonl")
    assert (exam.kind, exam.needs_teacher, exam.text.name) == ("text", False, "mine")


@pytest.mark.parametrize(
    ("name", "source", "said"),
    [
        ("doly", None, "did you mean 'dolly'"),
        ("glue:rtee", "file", "did you mean 'glue:rte'"),
        ("xyzzy", None, "--list"),
        ("harness:", None, "unknown exam"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(name, source, said):
    with pytest.raises(BadInput, match=said):
        exam_named(name, source)
