"""The `training` section: fields of `transformers.TrainingArguments`, checked without importing transformers.

Names, types and choices are read with `ast` from the installed package, so that they are those of the version
in use. Some fields belong to other sections or to the program; those are refused with the reason. Some choices
are our own: `lr_scheduler_type: onecycle`, `optim: came` and `optim: microadam`.
"""

import ast
import importlib.util
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.recipe.declared import Declared, Mismatch, declare, fields_of
from stillroom.recipe.problems import Problem, did_you_mean, refuse
from stillroom.training.optimizers import OWN as OPTIMIZERS

OWNED = {
    "output_dir": "set `output` at the top of the recipe",
    "seed": "set `seed` at the top of the recipe",
    "data_seed": "the order of the data follows `seed` at the top of the recipe",
    "per_device_eval_batch_size": "set `evaluation.batch_size`",
    "remove_unused_columns": "the columns of a batch are chosen by the collator",
    "label_names": "there are no labels beside the objectives",
    "label_smoothing_factor": "the loss is the sum of the objectives",
    "average_tokens_across_devices": "losses are always sums and counts over all devices",
    "do_train": "the verb on the command line decides",
    "do_eval": "the verb on the command line decides",
    "do_predict": "the verb on the command line decides",
    "resume_from_checkpoint": "resuming is asked for on the command line, not in the recipe",
    "local_rank": "the launcher sets it",
    "hub_token": "a secret does not belong in a recipe",
    "push_to_hub": "a run writes a local folder; publish it afterwards",
    "hub_model_id": "a run writes a local folder; publish it afterwards",
    "hub_strategy": "a run writes a local folder; publish it afterwards",
    "auto_find_batch_size": "a batch that shrinks by itself makes runs unlike; set per_device_train_batch_size",
    "batch_eval_metrics": "see `evaluation`",
    "bf16_full_eval": "models are evaluated in the number format of their weights (student.dtype)",
    "disable_tqdm": "use --quiet",
    "enable_jit_checkpoint": "a signal saves a checkpoint already",
    "eval_accumulation_steps": "see `evaluation`",
    "eval_do_concat_batches": "see `evaluation`",
    "eval_use_gather_object": "see `evaluation`",
    "fp16_full_eval": "models are evaluated in the number format of their weights (student.dtype)",
    "hub_always_push": "a run writes a local folder; publish it afterwards",
    "hub_private_repo": "a run writes a local folder; publish it afterwards",
    "hub_revision": "a run writes a local folder; publish it afterwards",
    "include_for_metrics": "see `evaluation`",
    "length_column_name": "lengths are those of the encoded samples",
    "liger_kernel_config": "the objectives bring kernels of their own",
    "logging_nan_inf_filter": "what is not finite stops the run and is never hidden",
    "prediction_loss_only": "see `evaluation`",
    "restore_callback_states_from_checkpoint": "no callback has a state to restore",
    "save_only_model": "a checkpoint is what a run goes on from; the model alone is written at the end",
    "torch_compile": "the compiler cannot follow how signals are recorded",
    "torch_compile_backend": "the compiler cannot follow how signals are recorded",
    "torch_compile_mode": "the compiler cannot follow how signals are recorded",
    "use_cache": "training keeps no cache of keys and values",
    "use_liger_kernel": "the objectives bring kernels of their own",
}
"""Fields that a recipe does not set: where the matter is decided instead, or why it would do nothing or harm."""

RENAMED = {
    "warmup_ratio": "warmup_steps (a number below 1 is a share of all steps)",
    "group_by_length": "train_sampling_strategy: group_by_length",
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "epochs": "num_train_epochs",
    "batch_size": "per_device_train_batch_size",
}
"""Names that people bring along from earlier versions and other tools."""

_AT_LEAST = {  # the least value where transformers checks late or not at all
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 0.0,
    "weight_decay": 0.0,
    "warmup_steps": 0.0,
    "max_grad_norm": 0.0,
    "num_train_epochs": 0.0,
    "max_steps": -1,
    "save_total_limit": 1,
    "dataloader_num_workers": 0,
}


def default_training(*, from_scratch: bool, has_eval: bool, max_steps: int) -> dict[str, Any]:
    """What the resolved recipe writes where `training` is silent.

    The learning rate is 5e-4 where all trained weights start from nothing (random student or LoRA adapters)
    and 5e-5 for a pretrained student. Evaluation (with evaluation data) comes ten times a run, checkpoints
    four times, of which the last is kept. `max_steps` is the given one; without it (-1) the run has three
    epochs.
    """
    length = {} if max_steps > 0 else {"num_train_epochs": 3.0}
    evaluation = {"eval_strategy": "steps", "eval_steps": 0.1} if has_eval else {"eval_strategy": "no"}
    return {
        **length,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "learning_rate": 5e-4 if from_scratch else 5e-5,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "train_sampling_strategy": "group_by_length",
        "logging_steps": min(10, max_steps) if max_steps > 0 else 10,
        **evaluation,
        "save_strategy": "steps",
        "save_steps": 0.25,
        "save_total_limit": 1,
        "report_to": [],
    }


def check_training(values: dict[str, Any]) -> dict[str, Any]:
    """The section with numbers converted; every unknown, owned or mistyped field is refused at once."""
    fields, checked, problems = training_fields(), {}, []
    for name, value in values.items():
        if name in OWNED:
            problems.append(Problem((name,), f"not set here: {OWNED[name]}"))
        elif name not in fields:
            renamed = f"; did you mean {RENAMED[name]}?" if name in RENAMED else did_you_mean(name, fields)
            problems.append(Problem((name,), f"unknown key{renamed}", is_unknown_key=True))
        else:
            try:
                checked[name] = _within(name, fields[name].convert(value))
            except Mismatch as error:
                problems.append(Problem((name,), str(error)))
    refuse(problems)
    return checked


@cache
def training_fields() -> dict[str, Declared]:
    """Every field of the installed `TrainingArguments` that a recipe may set, with what it admits."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        raise BadInput(
            "transformers is not installed; install stillroom with its dependencies (pip install stillroom)."
        )
    folder = FilePath(package.origin).parent
    module = ast.parse((folder / "training_args.py").read_text(encoding="utf-8"))
    enums = _enums(module) | _enums(ast.parse((folder / "trainer_utils.py").read_text(encoding="utf-8")))
    for kind, ours in {"SchedulerType": ("onecycle",), "OptimizerNames": OPTIMIZERS}.items():
        enums[kind] = (*enums.get(kind, ()), *ours)
    arguments = next(n for n in module.body if isinstance(n, ast.ClassDef) and n.name == "TrainingArguments")
    return {
        name: _narrowed(declare(node.annotation, enums), node)
        for name, node in fields_of(arguments).items()
        if name not in OWNED
    }


def _within(name: str, value: Any) -> Any:
    least = _AT_LEAST.get(name)
    if least is not None and value is not None and value < least:
        raise Mismatch(f"expected at least {least:g}, got {value:g}")
    return value


def _narrowed(declared: Declared, node: ast.AnnAssign) -> Declared:
    """Text fields that list their `choices` in the metadata admit those only."""
    if declared.kinds == ("text",) and isinstance(node.value, ast.Call):
        for keyword in ast.walk(node.value):
            if isinstance(keyword, ast.Dict):
                for key, value in zip(keyword.keys, keyword.values, strict=True):
                    if (
                        isinstance(key, ast.Constant)
                        and key.value == "choices"
                        and isinstance(value, ast.List)
                    ):
                        return Declared((), tuple(ast.literal_eval(value)))
    return declared


def _enums(module: ast.Module) -> dict[str, tuple[str, ...]]:
    return {
        node.name: tuple(
            item.value.value
            for item in node.body
            if isinstance(item, ast.Assign)
            and isinstance(item.value, ast.Constant)
            and isinstance(item.value.value, str)
        )
        for node in module.body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Enum") for base in node.bases)
    }
