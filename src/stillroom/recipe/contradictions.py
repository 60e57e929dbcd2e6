"""Keys that are fine one by one and do not go together (`find`), and what is allowed but hardly meant
(`doubts`)."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stillroom.data.sources import looks_like_path
from stillroom.recipe.problems import Problem

if TYPE_CHECKING:
    from stillroom.recipe.schema import Recipe

NEEDS_TEACHER = ("agreement", "teacher_kl", "confidence_gap", "teacher_calibration_error")
"""Metrics that compare with a teacher."""


def find(recipe: "Recipe") -> Iterator[Problem]:
    """Every contradiction, with the key to change."""
    yield from _objectives(recipe)
    yield from _teachers(recipe)
    yield from _data(recipe)
    yield from _evaluation(recipe)
    yield from _training(recipe)
    if recipe.student.lora is not None and recipe.student.init == "random":
        yield Problem(
            ("student", "lora"),
            "adapters on random weights cannot learn the language; use init: pretrained, or lora: null",
        )
    if recipe.student.config and recipe.student.init == "pretrained":
        yield Problem(
            ("student", "config"),
            "the weights that are there fit their own configuration only; use init: random, or take config out",
        )


def doubts(recipe: "Recipe") -> list[str]:
    """Sentences to print before the run."""
    return [*_late_intervals(recipe.training), *_odd_choices(recipe)]


def _objectives(recipe: "Recipe") -> Iterator[Problem]:
    if all(objective.weight == 0 for objective in recipe.objectives):
        yield Problem(
            ("objectives",), "all weights are 0, so nothing would be trained; give one a weight above 0"
        )
    sharded = next((key for key in ("deepspeed", "fsdp") if recipe.training.get(key)), None)
    for number, objective in enumerate(recipe.objectives):
        if sharded and objective.learning_rate is not None:
            yield Problem(
                ("objectives", number, "learning_rate"),
                f"sharded training (training.{sharded}) knows one rate for all parameters; leave it out",
            )
    if recipe.teacher is None:
        needing = [objective.use for objective in recipe.objectives if not objective.use.startswith("hard.")]
        if needing:
            names = ", ".join(dict.fromkeys(needing))
            yield Problem(
                ("teacher",),
                f"missing, and {names} compares with one; add teacher: {{model: ...}} (--teacher)",
            )
    elif recipe.teacher.use == "cached" and recipe.teacher.cache is None:
        yield Problem(
            ("teacher", "cache"),
            "missing, and teacher.use: cached reads one; give the folder that `stillroom cache` wrote",
        )


def _teachers(recipe: "Recipe") -> Iterator[Problem]:
    if recipe.teacher is None:
        return
    named = [recipe.teacher.model, *recipe.teacher.others]
    for repeated in sorted({name for name in named if named.count(name) > 1}):
        yield Problem(
            ("teacher", "others"), f"{repeated} is named twice; name it once, and give it a larger share"
        )
    mapping = [each.use for each in recipe.objectives if each.use.startswith("dual_space.")]
    if recipe.teacher.others and mapping:
        yield Problem(
            ("teacher", "others"),
            f"{' and '.join(mapping)} map the states of one teacher, and several have states side by side; give one",
        )
    shares = recipe.teacher.shares
    if shares is not None and len(shares) != len(named):
        yield Problem(
            ("teacher", "shares"),
            f"{len(shares)} shares for {len(named)} teachers; give one each, model's first",
        )


def _data(recipe: "Recipe") -> Iterator[Problem]:
    prompt, length = recipe.data.max_prompt_length, recipe.data.max_length
    if prompt is not None and prompt >= length:
        yield Problem(
            ("data", "max_prompt_length"),
            f"{prompt} leaves no room for a response within max_length {length}; give less than {length}",
        )
    spans = recipe.data.spans
    if spans is not None and (spans.use == "spacy") != (spans.pipeline is not None):
        yield Problem(
            ("data", "spans", "pipeline"),
            "missing, and spacy cuts with a pipeline: name an installed one (en_core_web_sm), or its folder"
            if spans.pipeline is None
            else f"only spacy has pipelines, and data.spans.use is {spans.use}; take it out, or set use: spacy",
        )


def _evaluation(recipe: "Recipe") -> Iterator[Problem]:
    metrics, place = recipe.evaluation.metrics or [], ("evaluation", "metrics")
    if metrics and recipe.data.eval is None:
        yield Problem(place, "there is nothing to measure on; give data.eval (--eval), or metrics: []")
    without = [name for name in metrics if name in NEEDS_TEACHER]
    if without and recipe.teacher is None:
        yield Problem(
            place, f"{' and '.join(without)} compare with a teacher, and there is none; leave them out"
        )
    if without and recipe.teacher is not None and recipe.teacher.use == "cached":
        yield Problem(
            place,
            f"{' and '.join(without)} ask the teacher about held-out text, which its cache does not hold; leave them "
            "out, or use teacher.use: live",
        )
    if "rouge_l" in metrics and recipe.evaluation.prompts == 0:
        yield Problem(
            place, "rouge_l scores answers, and evaluation.prompts is 0; give prompts, or leave it out"
        )
    for repeated in sorted({name for name in metrics if metrics.count(name) > 1}):
        yield Problem(place, f"{repeated} is given twice; give it once")


def _training(recipe: "Recipe") -> Iterator[Problem]:
    given = recipe.training
    for first, second in (("bf16", "fp16"), ("bf16_full_eval", "fp16_full_eval")):
        if given.get(first) and given.get(second):
            yield Problem(("training", second), f"{first} and {second} exclude each other; keep one")
    strategy = given.get("eval_strategy", "no")
    if strategy != "no" and recipe.data.eval is None:
        yield Problem(
            ("training", "eval_strategy"), "there is nothing to evaluate on; give data.eval (--eval)"
        )
    if given.get("max_steps") == 0:
        yield Problem(
            ("training", "max_steps"), "0 steps train nothing; give at least 1, or -1 to count in epochs"
        )
    if given.get("max_steps", -1) < 0 and given.get("num_train_epochs") == 0:
        yield Problem(
            ("training", "num_train_epochs"), "0 epochs train nothing; give more than 0, or max_steps"
        )


def _late_intervals(training: dict[str, Any]) -> Iterator[str]:
    steps = training.get("max_steps", -1)
    effects = {
        "logging": "nothing is logged",
        "eval": "nothing is evaluated on the way",
        "save": "nothing is saved on the way",
    }
    for what, effect in effects.items():
        interval = training.get(f"{what}_steps")
        if (
            training.get(f"{what}_strategy", "steps") == "steps"
            and interval is not None
            and 0 < steps < interval
        ):
            yield f"training.{what}_steps is {interval:g} and the run has {steps} steps: {effect}."
    warmup = training.get("warmup_steps", 0)
    if 0 < steps <= warmup:
        yield f"training.warmup_steps is {warmup:g} and the run has {steps} steps: the warm-up never ends."


def _odd_choices(recipe: "Recipe") -> Iterator[str]:
    training, teacher = recipe.training, recipe.teacher
    if training.get("max_steps", -1) > 0 and "num_train_epochs" in training:
        yield "training.max_steps decides the length of the run; training.num_train_epochs has no effect."
    if recipe.data.eval is None:
        yield "data.eval is not given: the student is not measured on held-out text."
    elif _same_text(recipe):
        yield f"data.eval is data.train ({recipe.data.eval}): the results will say nothing about unseen text."
    if teacher is not None and teacher.model == recipe.student.model and recipe.student.init == "pretrained":
        yield f"student and teacher are the same model ({teacher.model}): there may be nothing to learn."
    for name, objective in zip(recipe.objective_names, recipe.objectives, strict=True):
        if objective.weight == 0:
            yield f"{name} has weight 0: it is computed and recorded, and trains nothing."


def _same_text(recipe: "Recipe") -> bool:
    """Files have no splits; parts of one data set of the hub may be different text."""
    data = recipe.data
    if data.eval != data.train or data.train == "python-docs":
        return False
    is_file = looks_like_path(data.train) or os.path.exists(data.train)
    return is_file or data.eval_split == data.train_split
