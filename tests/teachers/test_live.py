"""A live teacher is frozen, at rest, finite and not the student."""

import pytest
import torch
from taps.families import VOCAB, family, padded

from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.signals import FinalHidden, Head, Logits, QueryKey
from stillroom.teachers.live import LiveTeacher, scan_weights

torch.set_num_threads(1)


def batch() -> Batch:
    student, teacher = padded(left=False), padded(left=True)
    return Batch(student, teacher, torch.arange(2))


def test_answers_about_its_own_side_without_gradient() -> None:
    model = family("gpt2").train()
    teacher = LiveTeacher(model, vocab_size=50, vocabulary="v")
    requests = {Logits(), FinalHidden(), Head(), QueryKey(1)}
    teacher.prepare(requests)
    signals = teacher.answer(batch(), requests)
    side = batch().teacher
    expected = family("gpt2")(
        side.input_ids, attention_mask=side.attention_mask, position_ids=_positions(side)
    )
    real = side.attention_mask.bool()
    torch.testing.assert_close(signals[Logits()][real], expected.logits[real][:, :50], atol=1e-5, rtol=1e-4)
    assert not any(p.requires_grad for p in model.parameters())
    assert not signals[FinalHidden()].requires_grad
    assert not signals[FinalHidden()].is_inference()
    assert (teacher.shape.vocab_size, teacher.shape.vocabulary) == (50, "v")
    with pytest.raises(KeyError, match="teacher"):
        signals[QueryKey(2)]


def _positions(side) -> torch.Tensor:
    return (side.attention_mask.cumsum(1) - 1).clamp(min=0)


def test_answers_feed_a_student_that_learns() -> None:
    teacher, student = LiveTeacher(family("llama", seed=1)), family("llama")
    known = teacher.answer(batch(), {Logits()})[Logits()]
    logits = student(batch().teacher.input_ids).logits
    (logits.log_softmax(-1) * known.softmax(-1)).sum().backward()
    assert student.lm_head.weight.grad.abs().sum() > 0


def test_a_teacher_in_training_mode_is_refused() -> None:
    teacher = LiveTeacher(family("gpt2"))
    teacher.model.transformer.h[1].attn.train()
    with pytest.raises(BadInput, match=r"transformer\.h\.1\.attn"):
        teacher.answer(batch(), {Logits()})


def test_the_student_itself_is_refused() -> None:
    model = family("llama")
    teacher = LiveTeacher(model)
    with pytest.raises(BadInput, match="two models, but they share the parameter"):
        teacher.check_distinct(model)
    teacher.check_distinct(family("llama"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_broken_weights_are_named(value: float, dtype: torch.dtype) -> None:
    model = family("llama").to(dtype)
    scan_weights(model)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 4] = value
    with pytest.raises(BadInput, match=r"model\.layers\.1\.mlp\.up_proj\.weight \(48, 32\) holds 1 "):
        LiveTeacher(model)


def test_eight_bit_weights_are_scanned() -> None:
    layer = torch.nn.Linear(2, 2, bias=False)
    layer.weight = torch.nn.Parameter(torch.ones(2, 2).to(torch.float8_e4m3fn), requires_grad=False)
    scan_weights(layer)
    layer.weight = torch.nn.Parameter(
        torch.full((2, 2), torch.nan).to(torch.float8_e4m3fn), requires_grad=False
    )
    with pytest.raises(BadInput, match=r"weight .* holds 4"):
        scan_weights(layer)


def test_all_rows_where_no_vocabulary_is_given() -> None:
    assert LiveTeacher(family("llama")).shape.vocab_size == VOCAB
