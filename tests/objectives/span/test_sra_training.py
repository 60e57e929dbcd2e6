"""SRA inside the trainer: its projectors are trained, saved and resumed, and how a batch is split changes nothing."""

import pytest
import torch
from training.pairs import history, make_trainer, parameters

from stillroom import objectives
from stillroom.taps.prepare import prepare

NAME = "span.sra"


def trainer(folder, settings, **arguments):
    made = {
        "hard.cross_entropy": objectives.find("hard.cross_entropy")(),
        NAME: objectives.find(NAME)(**settings),
    }
    found = make_trainer(folder, objectives=made, weights=dict.fromkeys(made, 0.5), **arguments)
    prepare(found.pair.student, found.pair.student_requests)
    prepare(found.teacher.model, found.pair.teacher_requests)
    return found


@pytest.mark.parametrize("projector", ["trained", "frozen"])
def test_a_resumed_training_is_the_one_that_was_not_interrupted(tmp_path, projector):
    settings = {"projector": projector}
    straight = trainer(tmp_path / "a", settings, max_steps=4)
    straight.train()
    trainer(tmp_path / "b", settings, max_steps=4, save_strategy="steps", save_steps=2).train()
    torch.manual_seed(99)  # maps that were not saved would be others
    resumed = trainer(tmp_path / "b", settings, max_steps=4)
    resumed.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-2"))
    assert torch.equal(parameters(resumed), parameters(straight))
    mine, yours = (dict(each.pair.parts.named_parameters()) for each in (resumed, straight))
    assert len(mine) == len(yours) == 2
    assert all(torch.equal(mine[name], yours[name]) for name in mine)


def test_accumulated_batches_are_one_batch(tmp_path):
    whole = trainer(tmp_path / "a", {})
    split = trainer(tmp_path / "b", {}, per_device_train_batch_size=1, gradient_accumulation_steps=8)
    for each in (whole, split):
        each.train()
    for term in ("cosine", "geometry", "logits"):
        key = f"loss/{NAME}/{term}"
        assert history(split, key) == pytest.approx(history(whole, key), rel=1e-3, abs=1e-5)
    assert history(whole, f"measure/{NAME}/control")[0] > 0
