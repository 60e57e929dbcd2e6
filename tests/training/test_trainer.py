"""The promises of the one trainer: how the batch is split changes nothing, and nothing broken passes unseen."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from tiny import TinyDataset, tiny_llama
from training.pairs import history, make_trainer, parameters

from stillroom.core.loss import Loss, masked_sum
from stillroom.core.objective import Objective
from stillroom.core.record import METRICS, read_jsonl
from stillroom.core.signals import Head, Logits, Reads
from stillroom.objectives.hard.cross_entropy import CrossEntropy
from stillroom.objectives.logits.forward_kl import ForwardKL
from stillroom.training.callbacks import RecordMetrics
from stillroom.training.guard import NonFiniteLoss

ONE_BY_EIGHT = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}


def test_one_batch_of_eight_equals_eight_accumulated_batches_of_one(tmp_path):
    whole = make_trainer(tmp_path / "a")
    split = make_trainer(tmp_path / "b", **ONE_BY_EIGHT)
    whole.train()
    split.train()
    for key in ("loss", "loss/logits.forward_kl/divergence", "loss/hard.cross_entropy/cross_entropy"):
        assert history(split, key) == pytest.approx(history(whole, key), abs=1e-5)
    assert history(split, "grad_norm") == pytest.approx(history(whole, "grad_norm"), rel=1e-4)
    torch.testing.assert_close(parameters(split), parameters(whole), atol=1e-4, rtol=1e-3)


RANK_SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from training.pairs import history, make_trainer, parameters
import json, torch
torch.set_num_threads(1)
sizes = dict(per_device_train_batch_size={batch}, gradient_accumulation_steps={steps})
trainer = make_trainer(Path({folder!r}), ddp_backend="gloo", **sizes)
trainer.train()
if trainer.args.process_index == 0:
    Path({out!r}).write_text(json.dumps({{
        "loss": history(trainer, "loss"), "kl": history(trainer, "loss/logits.forward_kl/divergence"),
        "norm": history(trainer, "grad_norm"), "tokens": trainer.trained_tokens,
        "sum": parameters(trainer).double().sum().item()}}))
"""


@pytest.mark.slow
def test_two_ranks_equal_one_process(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    out = tmp_path / "out.json"
    script = tmp_path / "rank.py"
    tests = str(Path(__file__).parents[1])
    script.write_text(
        RANK_SCRIPT.format(tests=tests, folder=str(tmp_path / "run"), batch=1, steps=4, out=str(out))
    )
    ranks = []
    for rank in range(2):
        env = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        ranks.append(subprocess.Popen([sys.executable, str(script)], env=env, stderr=subprocess.PIPE))
    for each in ranks:
        errors = each.communicate(timeout=240)[1].decode()
        assert each.returncode == 0, errors[-3000:]
    two = json.loads(out.read_text())
    one = make_trainer(tmp_path / "one")
    one.train()
    assert two["loss"] == pytest.approx(history(one, "loss"), abs=1e-5)
    assert two["kl"] == pytest.approx(history(one, "loss/logits.forward_kl/divergence"), abs=1e-5)
    assert two["norm"] == pytest.approx(history(one, "grad_norm"), rel=1e-4)
    assert two["tokens"] == one.trained_tokens
    assert two["sum"] == pytest.approx(parameters(one).double().sum().item(), abs=1e-2)


def test_masked_positions_change_nothing(tmp_path):
    plain, altered = TinyDataset(), TinyDataset()
    for item in altered.items:  # the last token of a response is scored but predicts nothing
        item["input_ids"] = [*item["input_ids"], 5, 6, 7]
        item["response_mask"] = [*item["response_mask"], False, False, False]
    one = make_trainer(tmp_path / "a", dataset=plain)
    two = make_trainer(tmp_path / "b", dataset=altered)
    two.train_dataset.lengths = plain.lengths  # the same order
    one.train()
    two.train()
    assert history(two, "loss") == pytest.approx(history(one, "loss"), abs=1e-5)


def test_student_equal_to_its_teacher_has_no_loss_and_stays(tmp_path):
    student = tiny_llama(2, width=32)
    trainer = make_trainer(tmp_path, objectives={"logits.forward_kl": ForwardKL()}, student=student)
    trainer.train()
    assert history(trainer, "loss") == pytest.approx([0.0] * 3, abs=1e-6)
    assert history(trainer, "grad_norm") == pytest.approx([0.0] * 3, abs=1e-5)


def test_a_fully_masked_micro_batch_gives_zero_and_no_nan(tmp_path):
    dataset = TinyDataset(size=8, all_masked=(0, 3))
    trainer = make_trainer(tmp_path, dataset=dataset, **ONE_BY_EIGHT)
    trainer.train()
    assert all(torch.isfinite(torch.tensor(history(trainer, "loss"))))
    assert parameters(trainer).isfinite().all()


def test_a_step_without_any_trained_token_leaves_weights_and_optimizer_alone(tmp_path):
    trainer = make_trainer(
        tmp_path, dataset=TinyDataset(size=8, all_masked=tuple(range(8))), weight_decay=0.5
    )
    before = parameters(trainer).clone()
    trainer.train()
    assert torch.equal(parameters(trainer), before)
    assert history(trainer, "loss") == [0.0] * 3
    assert not trainer.optimizer.state_dict()["state"]


@dataclass(eq=False, kw_only=True)
class Shrinks(Objective):
    """A regularizer: it is counted by the step, and says nothing about the text."""

    terms: ClassVar = {"size": "step"}

    def setup(self, student, teacher):
        return Reads(student=(Head(),))

    def forward(self, student, teacher, batch):
        total = student[Head()].weight.square().sum()
        return {"size": Loss(total, torch.ones((), dtype=torch.long), "step")}


def test_a_regularizer_alone_does_not_move_the_weights_in_an_empty_step(tmp_path):
    dataset = TinyDataset(size=8, all_masked=tuple(range(8)))
    objectives = {"hard.cross_entropy": CrossEntropy(), "mine": Shrinks()}
    trainer = make_trainer(tmp_path, dataset=dataset, objectives=objectives, weight_decay=0.5)
    before = parameters(trainer).clone()
    trainer.train()
    assert torch.equal(parameters(trainer), before)


@dataclass(eq=False, kw_only=True)
class BreaksOnToken(Objective):
    """NaN on every sequence that holds `token`."""

    terms: ClassVar = {"broken": "tokens"}
    token: int = 9

    def setup(self, student, teacher):
        return Reads(student=(Logits(),))

    def forward(self, student, teacher, batch):
        values = student[Logits()].sum(-1)
        poisoned = (batch.student.input_ids == self.token).any(1, keepdim=True)
        return {"broken": masked_sum(values.masked_fill(poisoned, float("nan")), batch.student.predicts)}


def test_a_non_finite_term_stops_the_run_and_names_term_and_rows(tmp_path):
    dataset = TinyDataset(size=8)
    for item in dataset.items:
        item["input_ids"] = [8 if token == 9 else token for token in item["input_ids"]]
    dataset.items[5]["input_ids"][1] = 9
    objectives = {"hard.cross_entropy": CrossEntropy(), "mine": BreaksOnToken()}
    trainer = make_trainer(tmp_path, dataset=dataset, objectives=objectives)
    before = parameters(trainer).clone()
    with pytest.raises(NonFiniteLoss, match=r"step 1: mine/broken became NaN on training sample 5\b"):
        trainer.train()
    assert torch.equal(parameters(trainer), before)


def test_an_inert_objective_is_pointed_out(tmp_path):
    trainer = make_trainer(tmp_path, weights={"hard.cross_entropy": 1e-4, "logits.forward_kl": 1.0})
    trainer.train()
    assert len(trainer.inert()) == 1
    assert "hard.cross_entropy is inert" in trainer.inert()[0]
    norms = history(trainer, "grad_norm/logits.forward_kl")
    assert len(norms) == 3
    assert norms[0] > 100 * history(trainer, "grad_norm/hard.cross_entropy")[0]


def test_one_cycle_rises_and_falls(tmp_path):
    trainer = make_trainer(tmp_path, one_cycle=True, max_steps=10, warmup_steps=3)
    trainer.train()
    rates = history(trainer, "learning_rate")
    assert max(rates) == pytest.approx(1e-2, rel=0.05)
    assert rates.index(max(rates)) in (2, 3)
    assert rates[-1] < 0.2 * max(rates)


def test_one_cycle_whose_warm_up_outlasts_the_run_rises_to_the_end(tmp_path):
    trainer = make_trainer(tmp_path, one_cycle=True, max_steps=3, warmup_steps=30)
    trainer.train()
    rates = history(trainer, "learning_rate")
    assert rates == sorted(rates)


def test_gradients_are_measured_in_the_steps_that_are_logged(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, max_steps=4, logging_steps=0.5, logging_first_step=True)
    steps, measure = [], trainer._measure_gradients
    monkeypatch.setattr(
        trainer,
        "_measure_gradients",
        lambda totals: (steps.append(trainer.state.global_step + 1), measure(totals)),
    )
    trainer.train()
    assert steps == [1, 2, 4]
    assert len(history(trainer, "grad_norm/logits.forward_kl")) == 3


def test_every_log_of_the_training_is_recorded(tmp_path):
    trainer = make_trainer(tmp_path, include_num_input_tokens_seen="all")
    trainer.add_callback(RecordMetrics(trainer, tmp_path))
    trainer.train()
    assert [row["step"] for row in read_jsonl(tmp_path / METRICS)] == [1, 2, 3]


def test_noise_on_the_embeddings_is_for_the_training_only(tmp_path):
    plain, noisy = make_trainer(tmp_path / "a"), make_trainer(tmp_path / "b", neftune_noise_alpha=5.0)
    plain.train()
    noisy.train()
    assert history(noisy, "loss") != pytest.approx(history(plain, "loss"), abs=1e-3)
    assert not noisy.pair.student.get_input_embeddings()._forward_hooks


@pytest.mark.parametrize("kind", ["bf16", "activation_checkpointing"])
def test_half_precision_and_checkpointing_train(tmp_path, kind):
    trainer = make_trainer(tmp_path / "a", **{kind: True})
    trainer.train()
    plain = make_trainer(tmp_path / "b")
    plain.train()
    tolerance = 5e-2 if kind == "bf16" else 1e-5
    assert history(trainer, "loss") == pytest.approx(history(plain, "loss"), rel=tolerance)


def test_lora_students_train_their_adapters_only(tmp_path):
    peft = pytest.importorskip("peft")
    student = peft.get_peft_model(
        tiny_llama(1), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    base = {k: v.clone() for k, v in student.state_dict().items() if "lora" not in k}
    trainer = make_trainer(tmp_path, student=student, max_steps=4)
    trainer.train()
    assert history(trainer, "loss")[-1] != history(trainer, "loss")[0]
    assert all(torch.equal(student.state_dict()[key], value) for key, value in base.items())


def test_resume_continues_bit_for_bit(tmp_path):
    straight = make_trainer(tmp_path / "a", max_steps=5)
    straight.train()
    first = make_trainer(tmp_path / "b", max_steps=5, save_strategy="steps", save_steps=3)
    first.train()
    assert not list((tmp_path / "b").rglob("*.p*t*h")), "a checkpoint holds no pickle"
    second = make_trainer(tmp_path / "b", max_steps=5)
    second.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-3"))
    assert torch.equal(parameters(second), parameters(straight))
    assert second.trained_tokens == straight.trained_tokens


def test_resuming_at_the_end_trains_no_further(tmp_path):
    first = make_trainer(tmp_path, max_steps=3, save_strategy="steps", save_steps=3)
    first.train()
    second = make_trainer(tmp_path, max_steps=3)  # two steps an epoch: the third one ends in the middle
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert second.state.global_step == 3
    assert torch.equal(parameters(second), parameters(first))
    assert second.trained_tokens == first.trained_tokens


def test_intervals_may_change_on_resume(tmp_path):
    make_trainer(tmp_path, max_steps=6, save_strategy="steps", save_steps=2).train()
    second = make_trainer(tmp_path, max_steps=6, logging_steps=3)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert [row["step"] for row in second.state.log_history if "loss" in row] == [1, 2, 3, 6]


def test_a_resumed_epoch_keeps_its_order_on_every_rank(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer._get_train_sampler()
    trainer.state.epoch = 1.5
    trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
    assert trainer._order.epoch == 1


def test_the_best_student_is_kept_and_loaded_at_the_end(tmp_path):
    losses, seen = iter([3.0, 1.0, 2.0, 4.0]), []

    def evaluate():
        seen.append(parameters(trainer).clone())
        return {"loss": next(losses)}

    trainer = make_trainer(
        tmp_path,
        max_steps=4,
        evaluate_student=evaluate,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=1,
        load_best_model_at_end=True,
    )
    trainer.train()
    assert torch.equal(parameters(trainer), seen[1])
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-2")
