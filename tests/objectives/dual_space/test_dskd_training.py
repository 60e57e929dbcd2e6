"""DSKD inside the trainer: its projectors are trained, saved and resumed, and how a batch is split changes nothing."""

import pytest
import torch
from training.pairs import history, make_trainer, parameters

from stillroom import objectives

NAMES = ("dual_space.dskd", "dual_space.dskd_v1")


def trainer(folder, name, **settings):
    made = {"hard.cross_entropy": objectives.find("hard.cross_entropy")(), name: objectives.find(name)()}
    return make_trainer(folder, objectives=made, weights=dict.fromkeys(made, 0.5), **settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_is_the_one_that_was_not_interrupted(tmp_path, name):
    straight = trainer(tmp_path / "a", name, max_steps=4)
    straight.train()
    trainer(tmp_path / "b", name, max_steps=4, save_strategy="steps", save_steps=2).train()
    resumed = trainer(tmp_path / "b", name, max_steps=4)
    resumed.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-2"))
    assert torch.equal(parameters(resumed), parameters(straight))
    mine, yours = (dict(each.pair.parts.named_parameters()) for each in (resumed, straight))
    assert mine.keys() == yours.keys()
    assert all(torch.equal(mine[name], yours[name]) for name in mine)


def test_accumulated_batches_are_one_batch(tmp_path):
    whole = trainer(tmp_path / "a", NAMES[0])
    split = trainer(tmp_path / "b", NAMES[0], per_device_train_batch_size=1, gradient_accumulation_steps=8)
    for each in (whole, split):
        each.train()
    for term in ("student_space", "projector", "teacher_space"):
        key = f"loss/{NAMES[0]}/{term}"
        assert history(split, key) == pytest.approx(history(whole, key), rel=1e-3, abs=1e-5)
    assert 0 < history(whole, f"measure/{NAMES[0]}/agreement")[0] < 1
