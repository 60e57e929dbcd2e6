import math
import statistics
from dataclasses import replace

import pytest
import torch
from folders import tiny_tokenizer
from reference.likelihood import log_softmax
from tiny import tiny_llama

from stillroom.core.errors import BadInput
from stillroom.data.columns import Instruction, Sample
from stillroom.evaluation.judge_perplexity import judge_perplexity
from stillroom.evaluation.protocol import CLEAN, MINILLM
from stillroom.evaluation.rouge import rouge_l
from stillroom.evaluation.text_exam import TextExaminer
from stillroom.teachers.live import LiveTeacher

SAMPLES = [
    Sample(n, f"test:{n}", Instruction(f"What is number {n}?"), f"It is {n}.", (f"It is {n}.", "the house"))
    for n in range(3)
]
SHORT = {"max_length": 256 + 12}


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def model(tokenizer, seed):
    made = tiny_llama(seed=seed, vocab_size=len(tokenizer)).eval()
    made.config.max_position_embeddings = 512
    return made


@pytest.fixture(scope="module")
def student(tokenizer):
    return model(tokenizer, 1)


@pytest.fixture(scope="module")
def teacher(tokenizer):
    return LiveTeacher(model(tokenizer, 2))


def test_clean_counts_the_greedy_text_and_shows_the_seeds(student, tokenizer):
    protocol = replace(CLEAN, **SHORT, seeds=(10, 20))
    seen = []
    marks = TextExaminer(student, tokenizer, protocol).examine(
        SAMPLES, progress=lambda *now: seen.append(now)
    )
    values = marks.values
    texts = [row["text"] for row in marks.samples]
    assert values["rouge_l"] == pytest.approx(rouge_l(texts, [each.references for each in SAMPLES]))
    of_seeds = [values["rouge_l/seed10"], values["rouge_l/seed20"]]
    assert values["rouge_l/mean_of_seeds"] == pytest.approx(sum(of_seeds) / 2)
    assert values["rouge_l/deviation"] == pytest.approx(statistics.stdev(of_seeds))
    assert {"loss", "perplexity", "lm_loss", "calibration_error", "exact_match"} <= values.keys()
    assert not {"teacher_kl", "tokens", "judge_perplexity"} & values.keys()
    assert marks.tokens > 0
    assert marks.notes == []
    assert [detail[:11] for _, _, detail in seen[:-1]] == [
        "likelihood",
        "text 1 of 3",
        "text 2 of 3",
        "text 3 of 3",
    ]
    assert all(detail.endswith("tokens/s") for _, _, detail in seen[2:])


def test_minillm_counts_the_mean_over_its_seeds(student, tokenizer):
    protocol = replace(MINILLM, **SHORT, seeds=(10, 20, 30))
    values = TextExaminer(student, tokenizer, protocol).examine(SAMPLES).values
    of_seeds = [values[f"rouge_l/seed{seed}"] for seed in (10, 20, 30)]
    assert values["rouge_l"] == pytest.approx(sum(of_seeds) / 3)
    assert "rouge_l/mean_of_seeds" not in values
    again = TextExaminer(student, tokenizer, protocol, batch_size=1, generation_batch_size=1).examine(SAMPLES)
    assert again.values == pytest.approx(values, rel=1e-5), "no mark depends on what else is in a batch"


def test_fewer_prompts_are_answered_and_all_references_scored(student, tokenizer):
    whole = TextExaminer(student, tokenizer, replace(CLEAN, **SHORT)).examine(SAMPLES)
    part = TextExaminer(student, tokenizer, replace(CLEAN, **SHORT, answered=1)).examine(SAMPLES)
    none = TextExaminer(student, tokenizer, replace(CLEAN, **SHORT, answered=0)).examine(SAMPLES)
    assert len(whole.samples) == len(SAMPLES) > 1
    assert part.samples == whole.samples[:1]
    assert none.samples == []
    assert part.values["loss"] == none.values["loss"] == whole.values["loss"]
    assert "rouge_l" in part.values
    assert "rouge_l" not in none.values


def test_without_references_the_teacher_gives_them_and_the_names_say_so(student, teacher, tokenizer):
    asked = [replace(each, response="", references=("",)) for each in SAMPLES]
    protocol = replace(CLEAN, **SHORT, seeds=(10,))
    marks = TextExaminer(student, tokenizer, protocol, teacher=teacher).examine(asked, has_references=False)
    assert {
        "rouge_l_to_teacher",
        "rouge_l_to_teacher/seed10",
        "loss_to_teacher",
        "teacher_kl",
    } <= marks.values.keys()
    assert not {"rouge_l", "loss", "calibration_error"} & marks.values.keys()
    assert "no references" in marks.notes[0]
    itself = TextExaminer(teacher.model, tokenizer, protocol, teacher=teacher).examine(
        asked, has_references=False
    )
    assert itself.values["exact_match_to_teacher"] == 100
    assert [row["reference"] for row in itself.samples] == [row["text"] for row in itself.samples]
    with pytest.raises(BadInput, match="give a teacher"):
        TextExaminer(student, tokenizer, protocol).examine(asked, has_references=False)


def test_a_cut_prompt_is_a_note(student, tokenizer):
    long = [replace(SAMPLES[0], question=Instruction("again " * 300))]
    for protocol, said in ((CLEAN, "lost their beginning"), (MINILLM, "lost their end")):
        short = replace(protocol, **SHORT, seeds=(10,))
        assert said in TextExaminer(student, tokenizer, short).examine(long).notes[0]


def test_the_judge_reads_texts_after_their_prompts_and_no_end_token(student, tokenizer):
    texts = ["it is the house", "", "spirits and scents"]
    found = judge_perplexity(student, tokenizer, SAMPLES, texts, CLEAN)
    losses = []
    for each, text in zip(SAMPLES, texts, strict=True):
        prompt = tokenizer(
            "Below is an instruction that describes a task. Write a response that appropriately completes the "
            f"request.\n\n### Instruction:\n{each.question.text}\n\n### Response:\n"
        )["input_ids"]
        said = tokenizer(text)["input_ids"] if text else []
        with torch.no_grad():
            logits = student(input_ids=torch.tensor([prompt + said])).logits[0].tolist()
        for place, token in enumerate(said, start=len(prompt)):
            losses.append(-log_softmax(logits[place - 1])[token])
    assert found == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-4)
    assert judge_perplexity(student, tokenizer, SAMPLES, ["", " ", ""], CLEAN) is None


def test_the_judge_reads_what_counts(student, teacher, tokenizer):
    protocol = replace(CLEAN, **SHORT, seeds=(10, 20))
    judged = {"judge": teacher.model, "judge_tokenizer": tokenizer}
    marks = TextExaminer(student, tokenizer, protocol, **judged).examine(SAMPLES)
    texts = [row["text"] for row in marks.samples]
    expected = judge_perplexity(teacher.model, tokenizer, SAMPLES, texts, protocol)
    assert marks.values["judge_perplexity"] == pytest.approx(expected)
    assert "judge_perplexity/seed10" not in marks.values
