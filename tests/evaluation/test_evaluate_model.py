import math
from types import SimpleNamespace

import pytest
from tiny import TinyDataset, tiny_llama

from stillroom.core.errors import BadInput
from stillroom.data.collate import Collator
from stillroom.evaluation.evaluate_model import METRICS, evaluate_model
from stillroom.evaluation.likelihood import evaluate_likelihood
from stillroom.teachers.live import LiveTeacher
from stillroom.testing._vocabulary import letters


class Letters:
    """A tokenizer as far as generation needs one: token n is the n-th letter."""

    eos_token_id = 2

    def decode(self, ids, skip_special_tokens, clean_up_tokenization_spaces):
        return " ".join(chr(94 + index) for index in ids if index >= 3)


PROMPTS = [
    SimpleNamespace(ids=[5, 6, 7], text="f g h", references=("a b c", "d")),
    SimpleNamespace(ids=[9], text="j", references=("e",)),
]


@pytest.fixture(scope="module")
def pair():
    return tiny_llama(seed=1), LiveTeacher(tiny_llama(seed=2))


def test_all_metrics_by_name_and_the_texts(pair):
    student, teacher = pair
    dataset, seen = TinyDataset(size=4), set()
    values, samples = evaluate_model(
        student,
        dataset,
        Collator(0),
        Letters(),
        metrics=METRICS,
        prompts=PROMPTS,
        teacher=teacher,
        tokens=letters("abcdefghijklmnopqrstuvwxyz0123456789"),
        max_new_tokens=5,
        progress=lambda part, done, total: seen.add((part, total)),
    )
    expected = evaluate_likelihood(student, dataset, Collator(0), teacher=teacher)
    assert list(values) == list(METRICS)
    likelihoods = [name for name in METRICS if name in expected]
    assert len(likelihoods) == len(METRICS) - 2  # bits per byte and Rouge-L come from elsewhere
    assert {name: values[name] for name in likelihoods} == pytest.approx(
        {name: expected[name] for name in likelihoods}
    )
    assert values["bits_per_byte"] == pytest.approx(expected["loss"] / math.log(2))  # a letter is a byte
    assert 0 <= values["rouge_l"] <= 100
    assert [(sample["prompt"], sample["reference"]) for sample in samples] == [("f g h", "a b c"), ("j", "e")]
    assert all(sample["text"] for sample in samples)
    assert seen == {("likelihood", 4), ("generation", 2)}


def test_only_what_is_asked_is_computed(pair, monkeypatch):
    student, teacher = pair
    monkeypatch.setattr(teacher, "answer", None)
    values, samples = evaluate_model(
        student, TinyDataset(size=2), Collator(0), Letters(), metrics=["perplexity"], teacher=teacher
    )
    assert list(values) == ["perplexity"]
    assert samples == []
    values, samples = evaluate_model(
        student, None, Collator(0), Letters(), metrics=[], prompts=PROMPTS, max_new_tokens=2
    )
    assert values == {}
    assert len(samples) == 2


def test_everything_that_is_missing_is_named_at_once(pair):
    with pytest.raises(BadInput) as caught:
        evaluate_model(
            pair[0], None, Collator(0), Letters(), metrics=["loss", "agreement", "rouge_l", "bleu"]
        )
    sentences = str(caught.value).split("\n")
    assert len(sentences) == 5
    assert "unknown metric 'bleu'" in sentences[0]
    assert "loss needs held-out data" in sentences[1]
    assert "agreement needs a teacher" in sentences[3]
    assert "rouge_l needs prompts" in sentences[4]
