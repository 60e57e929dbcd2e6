"""The page `docs/recipes.md`, made from the schema: every key with its kind, default and description.

python -m stillroom.recipe.handbook > docs/recipes.md
"""

import re
import typing
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from stillroom.recipe.problems import shown
from stillroom.recipe.schema import (
    Data,
    Evaluation,
    Lora,
    ObjectiveChoice,
    Recipe,
    SpansChoice,
    Student,
    Teacher,
    Tokens,
)
from stillroom.recipe.training_arguments import OWNED, default_training

_OPENING = """# Recipes

A run is written down in one YAML file: `stillroom distill recipe.yaml`. Any value can be replaced on the
command line with `--set training.max_steps=100`, list items by position: `--set objectives.0.weight=0.5`. The
flags `--student`, `--teacher`, `--data`, `--eval`, `--objective` (repeatable), `--output`, `--max-steps` and
`--seed` set the keys of the same meaning, so that a run needs no file at all. Later wins: file, flags,
`--set`.

Relative paths start where the command is started.

```yaml
student: {model: path-or-hub-name}
teacher: {model: path-or-hub-name}
data: {train: train.jsonl, eval: heldout.jsonl}
objectives:
  - {use: hard.cross_entropy, weight: 0.3}
  - {use: logits.forward_kl, weight: 0.7, temperature: 2}
training: {max_steps: 2000, learning_rate: 5e-4}
output: runs/first
```

The YAML is strict: a key may stand once, `1e-5` is a number, only `true` and `false` are booleans, anchors,
aliases and tags are refused, and a file has at most one megabyte. Everything that is wrong is reported at
once, with file and line. The run folder gets the resolved recipe, with every default written out.

This page is made from the schema (`python -m stillroom.recipe.handbook`).
"""

_SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("student", Student),
    ("student.lora", Lora),
    ("teacher", Teacher),
    ("data", Data),
    ("data.spans", SpansChoice),
    ("tokens", Tokens),
    ("objectives", ObjectiveChoice),
    ("evaluation", Evaluation),
]


def recipe_page() -> str:
    """The whole page, ending in a newline."""
    parts = [_OPENING, _section("The top of the file", Recipe)]
    parts += [_section(f"`{name}`", model) for name, model in _SECTIONS]
    return "\n".join([*parts, _training()])


def _section(title: str, model: type[BaseModel]) -> str:
    lines = [
        f"## {title}",
        "",
        " ".join((model.__doc__ or "").split()),
        "",
        "| key | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in model.model_fields.items():
        text = " ".join((field.description or "").split())
        choices = _choices(field.annotation)
        allowed = (
            f" One of {', '.join(f'`{c}`' for c in choices)}."
            if choices and f"`{choices[-1]}`" not in text
            else ""
        )
        lines.append(f"| `{name}` | {_default(field)} | {text}{allowed}{_range(field.metadata)} |")
    return "\n".join([*lines, ""])


def _training() -> str:
    pretrained = default_training(from_scratch=False, has_eval=True, max_steps=-1)
    rows = [f"| `{name}` | `{_yaml(value)}` |" for name, value in pretrained.items()]
    owned = [f"| `{name}` | {reason} |" for name, reason in OWNED.items()]
    about = " ".join((default_training.__doc__ or "").split())
    return "\n".join(
        [
            "## `training`",
            "",
            "Fields of `transformers.TrainingArguments`, unchanged, as the installed version knows them.",
            "`lr_scheduler_type` has one more choice, `onecycle`; `optim` has two, `came` and `microadam`.",
            "",
            about,
            "",
            "| key | default |",
            "|---|---|",
            *rows,
            "",
            "These belong elsewhere and are refused:",
            "",
            "| key | instead |",
            "|---|---|",
            *owned,
            "",
        ]
    )


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined:
        return "its defaults"
    return f"`{_yaml(field.default)}`"


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _choices(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def _range(metadata: list[Any]) -> str:
    words = {"ge": "At least", "gt": "More than", "le": "at most", "lt": "less than"}
    found = re.findall(r"\b(ge|gt|le|lt)=([-\d.e+]+)", " ".join(map(repr, metadata)))
    return f" {', '.join(f'{words[key]} {number}' for key, number in found)}." if found else ""


if __name__ == "__main__":
    print(recipe_page(), end="")
