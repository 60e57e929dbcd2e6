import functools

import pytest
import torch
from reference import likelihood as reference
from tiny import TinyDataset, tiny_llama
from torch.utils._python_dispatch import TorchDispatchMode

from stillroom.core.errors import BadInput
from stillroom.data.collate import Collator
from stillroom.evaluation import likelihood
from stillroom.evaluation.likelihood import evaluate_likelihood
from stillroom.teachers.live import LiveTeacher

PAD = 0


@pytest.fixture
def student():
    return tiny_llama(seed=1).double()


@pytest.fixture
def teacher():
    return LiveTeacher(tiny_llama(seed=2, width=32).double())


def truth(dataset, student, teacher, vocab_size=None):
    """The plain loops, on logits of one sample at a time without any padding."""

    def logits(model):
        with torch.no_grad():
            return [
                model(input_ids=torch.tensor([item["input_ids"]])).logits[0, :, :vocab_size].tolist()
                for item in dataset
            ]

    samples = [(item["input_ids"], item["response_mask"]) for item in dataset]
    return reference.likelihood(samples, logits(student), logits(teacher))


def test_equals_plain_loops_for_any_batch_size_padding_side_and_chunk(student, teacher, monkeypatch):
    dataset = TinyDataset(size=9)
    expected = truth(dataset, student, teacher.model)
    for batch_size, side, chunk in [
        (1, "right", 2**23),
        (4, "left", 2**23),
        (9, "right", 100),
        (4, "right", 1),
    ]:
        monkeypatch.setattr(likelihood, "CHUNK_ELEMENTS", chunk)
        found = evaluate_likelihood(
            student, dataset, Collator(PAD, side), teacher=teacher, batch_size=batch_size
        )
        assert found == pytest.approx(expected, rel=1e-6), (batch_size, side, chunk)


def test_without_a_teacher_the_same_loss_and_no_comparison(student, teacher):
    dataset = TinyDataset(size=5)
    expected = truth(dataset, student, teacher.model)
    found = evaluate_likelihood(student, dataset, Collator(PAD), batch_size=2)
    alone = ("loss", "perplexity", "lm_loss", "calibration_error", "tokens")
    assert found == pytest.approx({name: expected[name] for name in alone}, rel=1e-6)


def test_both_heads_are_trimmed_alike(student):
    teacher = LiveTeacher(tiny_llama(seed=2, vocab_size=41).double(), vocab_size=33)
    dataset = TinyDataset(size=5, vocab_size=33)
    found = evaluate_likelihood(student, dataset, Collator(PAD), teacher=teacher, vocab_size=33, batch_size=2)
    assert found == pytest.approx(truth(dataset, student, teacher.model, vocab_size=33), rel=1e-6)


def test_a_model_beside_itself(teacher):
    found = evaluate_likelihood(teacher.model, TinyDataset(size=5), Collator(PAD), teacher=teacher)
    assert found["teacher_kl"] == pytest.approx(0, abs=1e-6)
    assert found["agreement"] == 1
    assert found["confidence_gap"] == pytest.approx(0, abs=1e-6)


def test_lm_loss_weighs_samples_and_loss_weighs_tokens(student):
    """One long and one short response: the two means differ, and by as much as the lengths say."""
    items = TinyDataset(size=8).items
    pair = sorted(items, key=lambda item: sum(item["response_mask"]))[:: len(items) - 1]
    losses = [evaluate_likelihood(student, [item], Collator(PAD)) for item in pair]
    both = evaluate_likelihood(student, pair, Collator(PAD))
    assert both["lm_loss"] == pytest.approx(sum(each["loss"] for each in losses) / 2)
    assert both["loss"] == pytest.approx(
        sum(each["loss"] * each["tokens"] for each in losses) / both["tokens"]
    )
    assert both["loss"] != pytest.approx(both["lm_loss"], rel=1e-4)


def test_samples_without_response_count_nothing(student):
    whole = TinyDataset(size=6, all_masked=(0, 3, 4))
    rest = [whole[index] for index in (1, 2, 5)]
    for batch_size in (1, 6):
        found = evaluate_likelihood(student, whole, Collator(PAD), batch_size=batch_size)
        assert found == pytest.approx(evaluate_likelihood(student, rest, Collator(PAD)))
    with pytest.raises(BadInput, match="no response token"):
        evaluate_likelihood(student, TinyDataset(size=2, all_masked=(0, 1)), Collator(PAD))
    with pytest.raises(BadInput, match="no response token"):
        evaluate_likelihood(student, [], Collator(PAD))


def test_modes_and_gradients_are_left_as_they_were(student):
    student.train()
    student.model.layers[0].eval()
    before = [module.training for module in student.modules()]
    evaluate_likelihood(student, TinyDataset(size=3), Collator(PAD))
    assert [module.training for module in student.modules()] == before
    assert all(parameter.requires_grad and parameter.grad is None for parameter in student.parameters())
    with pytest.raises(ZeroDivisionError):
        evaluate_likelihood(
            student, TinyDataset(size=3), Collator(PAD), progress=lambda done, total: done / 0
        )
    assert [module.training for module in student.modules()] == before


def test_progress_counts_samples(student):
    seen = []
    evaluate_likelihood(
        student, TinyDataset(size=5), Collator(PAD), batch_size=2, progress=lambda *now: seen.append(now)
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_a_perplexity_beyond_all_numbers_is_infinite(student):
    with torch.no_grad():
        student.lm_head.weight.mul_(1e6)
    assert evaluate_likelihood(student, TinyDataset(size=3), Collator(PAD))["perplexity"] == float("inf")


def test_baselines_are_refused(student, teacher):
    evaluate = functools.partial(evaluate_likelihood, student, TinyDataset(size=3))
    with pytest.raises(BadInput, match="scores 37 tokens and the teacher 30"):
        evaluate(Collator(PAD), teacher=LiveTeacher(tiny_llama().double(), vocab_size=30))
    with pytest.raises(BadInput, match="scores tokens below 5"):
        evaluate(Collator(PAD), vocab_size=5)

    def two_sided(items):
        batch = Collator(PAD)(items)
        return batch | {f"teacher_{name}": value for name, value in batch.items() if name != "sample_ids"}

    with pytest.raises(BadInput, match="two tokenizers"):
        evaluate(two_sided, teacher=teacher)


class LargestFloat(TorchDispatchMode):
    """Size of the largest floating-point tensor made while it is on."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            self.numel = max(self.numel, result.numel())
        return result


def test_no_tensor_of_all_logits_is_made(monkeypatch):
    student, teacher = tiny_llama(vocab_size=997), LiveTeacher(tiny_llama(seed=1, vocab_size=997))
    monkeypatch.setattr(likelihood, "CHUNK_ELEMENTS", 5 * 997)
    dataset = TinyDataset(size=8, vocab_size=997)
    with LargestFloat() as largest:
        evaluate_likelihood(student, dataset, Collator(PAD), teacher=teacher, batch_size=8)
    head = 997 * 16  # its transpose is a view of the same size
    assert largest.numel <= max(head, 5 * 997)
