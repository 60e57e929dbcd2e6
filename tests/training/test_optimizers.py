"""Every optimizer of SHARP's appendix trains, goes on where it stopped, and says what it needs."""

import importlib.util
import sys
import types
from importlib.util import find_spec

import pytest
import torch
from tiny import tiny_llama
from training.pairs import history, make_trainer, parameters
from transformers import Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from stillroom.core.errors import BadInput
from stillroom.objectives.hard.cross_entropy import CrossEntropy
from stillroom.objectives.hidden.layerwise import Layerwise
from stillroom.training import checkpoint, optimizers
from stillroom.training.state import load_state

GALORE = {"optim_target_modules": ["attn", "mlp"], "optim_args": "rank=4,update_proj_gap=2,scale=1.0"}
CASES = {
    "adamw_torch": {},
    "came": {"optim_args": "beta3=0.999", "learning_rate": 5e-3},
    "adamw_bnb_8bit": {},
    "galore_adamw": GALORE,
    "galore_adafactor": GALORE,
}


def needs(name):
    missing = [package for module, package in optimizers.packages(name).items() if find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


OPTIMIZERS = [pytest.param(name, marks=needs(name)) for name in CASES]


def trainer_with(folder, name, **settings):
    """Hard labels and aligned hidden states, whose projections are trained beside the student."""
    optim = {} if name in optimizers.OWN else {"optim": name}
    student = settings.pop("student", None) or tiny_llama(1, width=64)
    objectives = {"hard.cross_entropy": CrossEntropy(), "hidden.layerwise": Layerwise()}
    common = {"objectives": objectives, "optimizer": name, "student": student, **optim, **CASES[name]}
    return make_trainer(folder, **{**common, **settings})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_student_and_projections(name, tmp_path):
    trainer = trainer_with(tmp_path, name, max_steps=8)
    before = {key: each.detach().clone() for key, each in trainer.pair.named_parameters()}
    trainer.train()
    loss = history(trainer, "loss")
    assert loss[-1] < loss[0]
    still = [key for key, each in trainer.pair.named_parameters() if torch.equal(each, before[key])]
    assert still == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stopped_run_goes_on_to_the_same_student(name, tmp_path):
    straight = trainer_with(tmp_path / "a", name, max_steps=5)
    straight.train()
    stopped = trainer_with(tmp_path / "b", name, max_steps=5, save_strategy="steps", save_steps=3)
    stopped.train()
    resumed = trainer_with(tmp_path / "b", name, max_steps=5, student=tiny_llama(9, width=64))
    resumed.train(resume_from_checkpoint=str(tmp_path / "b" / "checkpoint-3"))
    torch.testing.assert_close(parameters(resumed), parameters(straight), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_norms_are_not_decayed_and_all_else_is(name, tmp_path):
    trainer = trainer_with(tmp_path, name, weight_decay=0.1)
    trainer.create_optimizer()
    names = {id(each): key for key, each in trainer.pair.named_parameters()}
    decay = {
        names[id(each)]: group["weight_decay"]
        for group in trainer.optimizer.param_groups
        for each in group["params"]
    }
    assert decay.keys() == set(names.values()), "every parameter once"
    assert all((value == 0) == ("norm" in key) for key, value in decay.items())


@needs("adamw_bnb_8bit")
def test_states_of_eight_bits_are_kept_as_such(tmp_path):
    trainer = trainer_with(tmp_path, "adamw_bnb_8bit", max_steps=2, save_strategy="steps", save_steps=2)
    trainer.train()
    state = load_state(tmp_path / "checkpoint-2" / checkpoint.OPTIMIZER)["optimizer"]["state"]
    kinds = {each.dtype for part in state.values() for each in _tensors(part)}
    assert torch.uint8 in kinds, "the matrices of this student are large enough to be quantized"


def _tensors(value):
    if isinstance(value, dict):
        return [each for item in value.values() for each in _tensors(item)]
    return [value] if isinstance(value, torch.Tensor) else []


@needs("galore_adamw")
@pytest.mark.parametrize("wanted", ["all-linear", ["attn", "mlp"], r".*\.(q_proj|down_proj)"])
def test_galore_projects_only_the_student(wanted, tmp_path):
    trainer = trainer_with(tmp_path, "galore_adamw", optim_target_modules=wanted)
    optimizer = trainer.create_optimizer()
    names = {id(each): key for key, each in trainer.pair.named_parameters()}
    projected = [
        names[id(each)] for group in optimizer.param_groups if "rank" in group for each in group["params"]
    ]
    assert projected
    assert all(key.startswith("student.") for key in projected)
    assert {group.get("rank") for group in optimizer.param_groups} == {4, None}
    assert all(group["betas"] == (0.9, 0.999) for group in optimizer.param_groups)


@needs("galore_adamw")
def test_galore_without_a_fitting_layer_says_what_names_look_like(tmp_path):
    trainer = trainer_with(tmp_path, "galore_adamw", optim_target_modules=["query_key_value"])
    with pytest.raises(BadInput, match=r"no trained linear layer.*'model\.layers\.0\.self_attn\.q_proj'"):
        trainer.create_optimizer()


def arguments(folder, **settings):
    return TrainingArguments(
        **{"output_dir": str(folder), "use_cpu": True, "save_strategy": "no", **settings}
    )


@pytest.mark.parametrize(
    "name",
    [
        each.value
        for each in OptimizerNames
        if not optimizers.packages(each.value) and not optimizers.unfit(each.value)
    ],
)
def test_whatever_needs_no_package_is_built_without_one(name, tmp_path):
    """Else a missing package would come out after the weights are loaded."""
    optimizers.check(name, arguments(tmp_path))
    assert Trainer.get_optimizer_cls_and_kwargs(arguments(tmp_path, optim=name))[0] is not None


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("came", "came-pytorch"),
        ("microadam", "ista-daslab-optimizers"),
        ("adamw_bnb_8bit", "bitsandbytes"),
        ("adamw_8bit", "bitsandbytes"),
        ("paged_lion_8bit", "bitsandbytes"),
        ("ademamix", "bitsandbytes"),
        ("galore_adamw", "galore-torch"),
        ("adamw_torch_8bit", "torchao"),
        ("apollo_adamw", "apollo-torch"),
        ("stable_adamw", "torch-optimi"),
    ],
)
def test_a_missing_package_is_one_sentence(name, package, tmp_path, monkeypatch):
    monkeypatch.setattr(optimizers, "find_spec", lambda module: None)
    with pytest.raises(BadInput, match=rf"training\.optim: {name} needs {package}; pip install {package}"):
        optimizers.check(name, arguments(tmp_path))


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("microadam", {}, "microadam exists for CUDA GPUs only, and this run is on the cpu"),
        ("galore_adamw_8bit", GALORE, "galore_adamw_8bit exists for CUDA GPUs only"),
        ("galore_adamw_layerwise", GALORE, "use galore_adamw$"),
        ("schedule_free_sgd", {}, "schedule_free_sgd trains other weights than those to be evaluated"),
        ("adalomo", {}, "adalomo updates weights during the backward pass.*use adafactor$"),
        ("galore_adamw", {}, "optim_target_modules: galore_adamw needs it"),
        (
            "galore_adamw",
            GALORE | {"optim_args": "rnak=4"},
            "galore_adamw takes rank, update_proj_gap.*got 'rnak=4'",
        ),
        ("galore_adamw", GALORE | {"optim_args": "rank=four"}, "rank must be a whole number, got 'four'"),
        (
            "galore_adamw",
            GALORE | {"optim_args": "update_proj_gap=0"},
            r"update_proj_gap must lie in \(0, inf\), got 0",
        ),
        ("galore_adamw", GALORE | {"optim_args": "proj_type=up"}, "proj_type must be one of std, .*got 'up'"),
        ("came", {"optim_args": "beta3=1.5"}, r"beta3 must lie in \(0, 1\], got 1.5"),
        ("came", {"optim_args": "clip_threshold=nan"}, "clip_threshold must lie in"),
        ("came", {"optim_args": "beta3"}, "came takes beta3, clip_threshold"),
        (
            "apollo_adamw",
            GALORE | {"save_strategy": "steps"},
            "save_strategy: apollo_adamw does not hand out",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_weights_are_loaded(name, settings, says, tmp_path, monkeypatch):
    monkeypatch.setattr(optimizers, "find_spec", lambda module: importlib.util.spec_from_loader(module, None))
    with pytest.raises(BadInput, match=says):
        optimizers.check(name, arguments(tmp_path, **settings))


def test_ctrl_c_leaves_no_checkpoint_that_could_not_go_on(tmp_path):
    """It asks for one whatever `save_strategy` says."""
    trainer = make_trainer(tmp_path, max_steps=2, save_strategy="steps", save_steps=1)
    trainer.optimizer_name = "apollo_adamw"
    trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_microadam_is_built_with_the_papers_settings(tmp_path, monkeypatch):
    """Its package needs CUDA to be imported: a stand-in shows what would be asked of it."""
    package = types.ModuleType("ista_daslab_optimizers")
    package.MicroAdam = type("MicroAdam", (), {})
    monkeypatch.setitem(sys.modules, "ista_daslab_optimizers", package)
    trainer = make_trainer(tmp_path, optim_args="m=5", learning_rate=1e-3)
    found, settings = optimizers.build("microadam", trainer.args, trainer.pair, [])
    assert found is package.MicroAdam
    assert settings == {
        "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "m": 5, "k_init": 0.01, "quant_block_size": 100_000, "alpha": 0,
    }  # fmt: skip
