import pytest

from stillroom.report.directions import better, is_detail

LOWER = """loss lm_loss perplexity judge_perplexity word_perplexity teacher_kl calibration_error
teacher_calibration_error confidence_gap loss_to_teacher perplexity_to_teacher calibration_error_to_teacher"""
HIGHER = """rouge_l rouge_l/seed10 rouge_l_to_teacher rouge_l_to_teacher/seed10 exact_match exact_match_to_teacher
exact_match_strict_match accuracy acc acc_norm acc/anatomy em f1 matthews pearson spearman pass@1 pass@10 agreement"""
NEITHER = """documents train_documents shots cut prompts_cut tokens acc_stderr em_stderr exact_match_strict_match_stderr
rouge_l/deviation outcome/passed outcome/error shape embedding"""


@pytest.mark.parametrize(
    ("names", "way"),
    [(LOWER, "lower"), (HIGHER, "higher"), (NEITHER, "")],
    ids=["lower", "higher", "neither"],
)
def test_every_metric_that_an_exam_gives_has_its_direction(names, way):
    assert {name: better(name) for name in names.split()} == dict.fromkeys(names.split(), way)


def test_details_are_parts_spreads_and_facts():
    assert all(
        map(is_detail, ["acc/anatomy", "acc_stderr", "documents", "cut", "outcome/passed", "rouge_l/seed10"])
    )
    assert not any(
        map(is_detail, ["loss", "rouge_l", "acc", "em", "pass@1", "shape", "perplexity_to_teacher"])
    )
