import dataclasses

import pytest
from pydantic import ValidationError

from stillroom.recipe.training_arguments import (
    OWNED,
    check_training,
    default_training,
    training_fields,
)


def sentences(values):
    with pytest.raises(ValidationError) as caught:
        check_training(values)
    return {error["loc"]: error["msg"] for error in caught.value.errors()}


def test_the_fields_read_from_source_are_those_of_the_class():
    from transformers import TrainingArguments

    real = {field.name: field for field in dataclasses.fields(TrainingArguments) if field.init}
    assert set(OWNED) <= set(real)
    assert set(training_fields()) == set(real) - set(OWNED)
    for name, declared in training_fields().items():
        default = real[name].default
        if default is not dataclasses.MISSING:
            declared.convert(default)  # what the class has as default must be allowed


def test_enums_are_those_of_transformers():
    from transformers.trainer_utils import IntervalStrategy, SchedulerType
    from transformers.training_args import OptimizerNames

    fields = training_fields()
    assert set(fields["lr_scheduler_type"].choices) == {item.value for item in SchedulerType} | {"onecycle"}
    assert set(fields["optim"].choices) == {item.value for item in OptimizerNames} | {"came", "microadam"}
    assert set(fields["eval_strategy"].choices) == {item.value for item in IntervalStrategy}
    assert "group_by_length" in fields["train_sampling_strategy"].choices


@pytest.mark.parametrize("max_steps", [-1, 4, 100])
@pytest.mark.parametrize("has_eval", [True, False])
def test_the_class_takes_our_defaults(tmp_path, max_steps, has_eval):
    from transformers import TrainingArguments

    values = default_training(from_scratch=True, has_eval=has_eval, max_steps=max_steps)
    assert check_training(values) == values
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, max_steps=max_steps, **values)
    assert arguments.report_to == []
    assert max_steps < 0 or arguments.logging_steps <= max_steps


def test_numbers_as_text_are_numbers():
    assert check_training({"learning_rate": "1e-5", "max_steps": 1e2}) == {
        "learning_rate": 1e-5,
        "max_steps": 100,
    }


def test_all_that_is_wrong_comes_at_once():
    assert sentences(
        {
            "learning_rat": 1,
            "warmup_ratio": 0.1,
            "output_dir": "x",
            "max_steps": "many",
            "learning_rate": -1,
            "optim": "adamw_torhc",
            "lr_scheduler_type": "onecycel",
            "bf16": "on",
            "eval_strategy": False,
            "weight_decay": float("nan"),
        }
    ) == {
        ("learning_rat",): "unknown key; did you mean learning_rate?",
        ("warmup_ratio",): (
            "unknown key; did you mean warmup_steps (a number below 1 is a share of all steps)?"
        ),
        ("output_dir",): "not set here: set `output` at the top of the recipe",
        ("max_steps",): "expected a whole number, got 'many'",
        ("learning_rate",): "expected at least 0, got -1",
        ("optim",): "there is no 'adamw_torhc' among its 43 choices; did you mean adamw_torch?",
        ("lr_scheduler_type",): (
            "expected one of linear, cosine, cosine_with_restarts, polynomial, constant, "
            "constant_with_warmup, inverse_sqrt, reduce_lr_on_plateau, cosine_with_min_lr, "
            "cosine_warmup_with_min_lr, warmup_stable_decay, greedy, onecycle, "
            "got 'onecycel'; did you mean onecycle?"
        ),
        ("bf16",): "expected true or false, got 'on'",
        ("eval_strategy",): "expected one of no, steps, epoch, got false",
        ("weight_decay",): "expected a finite number, got nan",
    }


def test_the_learning_rate_follows_what_is_trained():
    rates = [
        default_training(from_scratch=s, has_eval=False, max_steps=-1)["learning_rate"] for s in (True, False)
    ]
    assert rates == [5e-4, 5e-5]
