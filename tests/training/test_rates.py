"""What objectives train has its own rate where one is given, under every optimizer and schedule, stopped or not."""

import pytest
import torch
from tiny import tiny_llama
from training.pairs import history, make_trainer, parameters
from training.test_optimizers import CASES, OPTIMIZERS
from transformers import TrainerCallback

from stillroom.core.errors import BadInput
from stillroom.objectives.hard.cross_entropy import CrossEntropy
from stillroom.objectives.hidden.layerwise import Layerwise
from stillroom.training import optimizers

NAME = "hidden.layerwise"
BASE, OWN = 1e-2, 4e-2


def trainer_with(folder, rate, name="adamw_torch", **settings):
    """Hard labels, and aligned hidden states whose projections are trained at `rate`."""
    optim = {} if name in optimizers.OWN else {"optim": name}
    common = {
        "objectives": {"hard.cross_entropy": CrossEntropy(), NAME: Layerwise()},
        "rates": {} if rate is None else {NAME: rate},
        "student": tiny_llama(1, width=64),
        "optimizer": name,
        **optim,
        **CASES.get(name, {}),
        "learning_rate": BASE,
    }
    torch.manual_seed(5)  # projections start alike
    return make_trainer(folder, **{**common, **settings})


def projections(trainer):
    found = [each.detach().flatten() for each in trainer.pair.parts.parameters()]
    assert found, "the objective has parts to train"
    return torch.cat(found)


def groups_of(trainer):
    """Decay, rate and place of every parameter by its name."""
    names = {id(each): key for key, each in trainer.pair.named_parameters()}
    return {
        names[id(each)]: (group["weight_decay"], group["lr"], place)
        for place, group in enumerate(trainer.optimizer.param_groups)
        for each in group["params"]
    }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_differ_in_the_rate_alone_and_the_students_come_first(name, tmp_path):
    one, other = (trainer_with(tmp_path, rate, name, weight_decay=0.1) for rate in (None, OWN))
    one.create_optimizer()
    other.create_optimizer()
    as_one, apart = groups_of(one), groups_of(other)
    assert apart.keys() == as_one.keys() == dict(other.pair.named_parameters()).keys()
    assert {key: decay for key, (decay, *_) in apart.items()} == {
        key: decay for key, (decay, *_) in as_one.items()
    }
    assert all(rate == (OWN if key.startswith("parts.") else BASE) for key, (_, rate, _) in apart.items())
    last = max(place for key, (*_, place) in apart.items() if key.startswith("student."))
    assert last < min(place for key, (*_, place) in apart.items() if key.startswith("parts."))
    assert all(group["params"] for group in other.optimizer.param_groups)


def test_a_step_of_gradient_descent_is_as_long_as_its_rate(tmp_path):
    settings = {"optim": "sgd", "max_steps": 1, "max_grad_norm": 0.0}
    moved = {}
    for rate in (None, OWN):
        trainer = trainer_with(tmp_path, rate, "sgd", **settings)
        before = projections(trainer), parameters(trainer)
        trainer.train()
        moved[rate] = [
            now - then for now, then in zip((projections(trainer), parameters(trainer)), before, strict=True)
        ]
    assert moved[None][0].norm() > 0
    torch.testing.assert_close(moved[OWN][0], OWN / BASE * moved[None][0], rtol=1e-3, atol=1e-7)
    assert torch.equal(moved[OWN][1], moved[None][1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_of_zero_leaves_the_parts_as_they_began(name, tmp_path):
    trainer = trainer_with(tmp_path, 0.0, name, weight_decay=0.1)
    before, student = projections(trainer), parameters(trainer)
    trainer.train()
    assert torch.equal(projections(trainer), before)
    assert not torch.equal(parameters(trainer), student)


SCHEDULES = {
    "linear": {},
    "cosine": {"warmup_steps": 2},
    "cosine_with_min_lr": {"lr_scheduler_kwargs": {"min_lr": BASE / 10}},
    "onecycle": {"lr_scheduler_type": "constant", "one_cycle": True, "warmup_steps": 3},
}


class Watch(TrainerCallback):
    """The rates of all groups, at every step."""

    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append([group["lr"] for group in optimizer.param_groups])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_scales_both_rates_and_the_students_is_logged(schedule, tmp_path):
    settings = {"lr_scheduler_type": schedule, "max_steps": 6, **SCHEDULES[schedule]}
    alone, apart = (trainer_with(tmp_path, rate, **settings) for rate in (None, OWN))
    watch = Watch()
    apart.add_callback(watch)
    alone.train()
    apart.train()
    assert len({round(rates[0], 12) for rates in watch.seen}) > 3, "the rate moves"
    assert all(rates[-1] == pytest.approx(OWN / BASE * rates[0]) for rates in watch.seen)
    assert history(apart, "learning_rate") == pytest.approx([rates[0] for rates in watch.seen])
    assert history(apart, "learning_rate") == pytest.approx(history(alone, "learning_rate"))


@pytest.mark.parametrize(
    ("name", "schedule"),
    [(pytest.param(each.values[0], "cosine", marks=each.marks)) for each in OPTIMIZERS]
    + [("adamw_torch", "onecycle")],
)
def test_a_stopped_run_goes_on_to_the_same_student_and_parts(name, schedule, tmp_path):
    settings = {"lr_scheduler_type": schedule, "max_steps": 5, **SCHEDULES[schedule]}
    straight = trainer_with(tmp_path / "a", OWN, name, **settings)
    straight.train()
    saving = {**settings, "save_strategy": "steps", "save_steps": 3}
    trainer_with(tmp_path / "b", OWN, name, **saving).train()
    resumed = trainer_with(tmp_path / "b", OWN, name, **saving, student=tiny_llama(9, width=64))
    resumed.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-3"))
    torch.testing.assert_close(parameters(resumed), parameters(straight), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(projections(resumed), projections(straight), atol=1e-6, rtol=1e-5)
    assert [group["lr"] for group in resumed.optimizer.param_groups] == pytest.approx(
        [group["lr"] for group in straight.optimizer.param_groups]
    )


def test_sharded_training_is_refused(tmp_path):
    trainer = trainer_with(tmp_path, OWN)
    trainer.is_fsdp_enabled = True
    with pytest.raises(BadInput, match="sharded training knows one rate"):
        trainer.create_optimizer()
