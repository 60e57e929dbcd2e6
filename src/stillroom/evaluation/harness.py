"""Any task of EleutherAI's lm-evaluation-harness, from the Hub or from local files.

The harness is asked, not copied: prompts, shots, stops, filters and metrics are those of the installed package. A
local file only takes the place of the Hub's data set (see `_harness_documents`): offline and online are one exam.

Code:     lm-eval 0.4, `pip install "stillroom[eval]"`
Differs:  MMLU gets 5 shots, DROP 3, as papers report them; the harness itself gives 0
          DROP with shots: as installed, shots show the names of the fields of an answer ("number,date,spans") in
          place of the answer (its issue 2137), and texts end at the first "." (3.5 becomes 3). Here shots show the
          answer, and texts end with the line
          BBH without reasoning: spaces around an answer do not make it wrong. As installed, " False" is not "False":
          0 for every model whose tokens keep their leading space (GPT-2, Llama 3, Qwen; its pull request 2502)
          a model with few positions writes at most half of them (BBH with reasoning asks for 1024)
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillroom.core.errors import BadInput
from stillroom.evaluation._harness_documents import local_documents
from stillroom.taps.eval_mode import eval_mode

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHOTS = {"mmlu": 5, "drop": 3}
"""Shots where the harness names none, by folder of its tasks. GSM8K has 5 there, BBH 3."""

SHOT_SEED = 1234
"""The harness' own seed for shots that are drawn."""

DROP_WITH_SHOTS = {
    "fewshot_config": {"doc_to_target": "{{ answers[0]|join(', ') }}", "target_delimiter": " "},
    "generation_kwargs": {"until": ["\n"]},
}

BBH_DIRECT = {
    "filter_list": [
        {"name": "none", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}
    ]
}

Progress = Callable[[str, int, int], None]
"""Called with the name of the exam, what is done of it, and its total."""


def run_harness(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    names: Sequence[str],
    *,
    sources: Mapping[str, str | None] | None = None,
    shots: Mapping[str, int] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    progress: Progress | None = None,
) -> dict[str, dict[str, float]]:
    """What `model` scores in the harness' tasks and groups `names`; each a dictionary of numbers by metric.

    `sources` names local files in place of the Hub's; `shots` replaces the usual number; `limit` takes the first
    documents of every task. Metrics are as the harness gives them, 0 to 1 each with its standard error; a group has
    the mean weighted by size, and "acc/anatomy" for each member. Beside them: `documents`; `shots`, where all tasks
    have as many; `cut`, the share of prompts that did not fit into the model and lost their beginning. `BadInput`
    for a name that is unknown, runs code, or cannot be reached.
    """
    sources, shots = sources or {}, shots or {}
    with _quiet():
        exams = {name: _load(name, sources.get(name), shots.get(name)) for name in names}
        return {
            name: _sit(model, tokenizer, name, exam, limit, batch_size, progress)
            for name, exam in exams.items()
        }


def check_task(name: str, source: str | None) -> None:
    """`BadInput` for what can be known without the model and the Hub: the name, and the form of local files."""
    with _quiet():
        manager, folder = _allowed(name)
        if source is not None:
            _local(manager, folder, name, Path(source))


def _load(name: str, source: str | None, shots: int | None) -> dict[str, Any]:
    """The tasks and groups of one exam, with their documents, as the harness' evaluator takes them."""
    manager, folder = _allowed(name)
    from lm_eval.tasks._factory import TaskFactory

    changes: dict[str, Any] = {}
    shots = SHOTS.get(folder or "") if shots is None else shots
    if shots is not None:
        changes["num_fewshot"] = shots
    if name == "drop" and shots:
        changes |= DROP_WITH_SHOTS
    if name.startswith("bbh_fewshot"):
        changes |= BBH_DIRECT
    if source is not None:
        changes |= _local(manager, folder, name, Path(source))
    try:
        # `TaskManager.load` changes single tasks only: it mixes up the names of a group's members.
        built = TaskFactory().build(manager.task_index[name], overrides=changes, registry=manager.task_index)
        loaded = manager.load(built if isinstance(built, list) else [built])
    except BadInput:
        raise
    # All that `datasets` raises for what is absent or wrong.
    except (OSError, ValueError, RuntimeError) as error:
        raise BadInput(_unreachable(name, source, error)) from error
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(SHOT_SEED)
    return dict(loaded)


def _allowed(name: str) -> tuple["TaskManager", str | None]:
    """What `_find` finds, unless it runs code: some tasks do so while they are loaded."""
    manager, folder = _find(name)
    if (manager.task_index[name].cfg or {}).get("unsafe_code"):
        raise BadInput(
            f"{name} of lm-eval runs code that the model writes, without a sandbox; use stillroom's own exams of code."
        )
    return manager, folder


def _find(name: str) -> tuple["TaskManager", str | None]:
    """A catalog that knows `name`, and the folder of the harness it is in if stillroom knows its data.

    All fourteen thousand tasks take 13 seconds to list, these few none; so the folders that are called like the name
    are read next, and the whole list only for what is not there.
    """
    try:
        from lm_eval import tasks
    except ModuleNotFoundError as error:
        raise BadInput(
            f'{name} is a task of lm-eval; install it with `pip install "stillroom[eval]"`.'
        ) from error

    root = Path(tasks.__file__).parent
    known = [root / "mmlu" / "default", root / "drop", root / "gsm8k", root / "bbh"]
    manager = tasks.TaskManager(include_path=known, include_defaults=False)
    if name in manager.task_index:
        path = manager.task_index[name].yaml_path
        return manager, None if path is None else path.relative_to(root).parts[0]
    like = [path for path in root.iterdir() if path.is_dir() and name.startswith(path.name)]
    manager = tasks.TaskManager(include_path=like, include_defaults=False)
    if name in manager.all_subtasks:  # members of a group may lie anywhere
        return manager, None
    manager = tasks.TaskManager()
    if name not in manager.task_index:
        close = get_close_matches(name, manager.all_tasks, n=1)
        meant = f"; did you mean {close[0]}?" if close else "."
        raise BadInput(f"{name} is no exam of stillroom and no task of lm-eval{meant}")
    return manager, None


def _local(manager: "TaskManager", folder: str | None, name: str, source: Path) -> dict[str, Any]:
    """Changes that put local documents in the place of the Hub's."""
    if not source.exists():
        raise BadInput(
            f"{name}={source}: no such file or folder; give the data of {name} there, or the name alone for the Hub's."
        )
    if (source / "README.md").exists():  # a copy of the data set's repository
        return {"dataset_path": str(source)}
    if folder is None:
        raise BadInput(
            f"{name}={source} is no copy of a data set of the Hub (it has no README.md); stillroom reads other files "
            "for MMLU, BBH, GSM8K and DROP only."
        )
    return local_documents(manager, folder, source)


def _unreachable(name: str, source: str | None, error: Exception) -> str:
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if source is not None:
        return f"{name}={source} cannot be read as the data of {name}: {said}"
    return f"the data of {name} cannot be reached on the Hub ({said}); give local files as {name}=PATH."


def _sit(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    name: str,
    exam: Mapping[str, Any],
    limit: int | None,
    batch_size: int,
    progress: Progress | None,
) -> dict[str, float]:
    from lm_eval.evaluator import evaluate

    from stillroom.evaluation._harness_model import HarnessModel

    with eval_mode(model):
        writer = HarnessModel(
            model, tokenizer, batch_size, progress and (lambda done, total: progress(name, done, total))
        )
        for task in exam["tasks"].values():
            if task.OUTPUT_TYPE == "generate_until":
                asked = task.config.generation_kwargs.get("max_gen_toks", writer.max_gen_toks)
                task.config.generation_kwargs["max_gen_toks"] = min(asked, writer.max_length // 2)
        results = evaluate(lm=writer, task_dict=exam, limit=limit, log_samples=False)  # pyrefly: ignore
    assert results is not None, "one process only"
    return _flatten(results, name, exam) | {"cut": writer.cut / max(1, writer.prompts)}


def _flatten(results: Mapping[str, Any], name: str, exam: Mapping[str, Any]) -> dict[str, float]:
    """The row of the exam itself, then the metrics of its members as "metric/member"."""
    rows = {member: _metrics(row) for member, row in results["results"].items()}
    numbers = dict(rows.pop(name, {}))
    for member, row in rows.items():
        short = member.removeprefix(f"{name}_")
        numbers |= {
            f"{metric}/{short}": value for metric, value in row.items() if not metric.endswith("_stderr")
        }
    numbers["documents"] = float(sum(counts["effective"] for counts in results["n-samples"].values()))
    shots = {task.config.num_fewshot or 0 for task in exam["tasks"].values()}
    return numbers | ({"shots": float(shots.pop())} if len(shots) == 1 else {})


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """ "exact_match,strict-match" to "exact_match_strict_match"; a filter is only named where there are several."""
    keys = [key.split(",") for key in row if "," in key]
    several = len({filtered for _, filtered in keys}) > 1
    numbers = {}
    for metric, filtered in keys:
        value = row[f"{metric},{filtered}"]
        plain, stderr = metric.removesuffix("_stderr"), metric.endswith("_stderr")
        label = f"{plain}_{filtered.replace('-', '_')}" if several else plain
        if isinstance(value, int | float) and math.isfinite(value):
            numbers[f"{label}_stderr" if stderr else label] = float(value)
    return numbers


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no advice from the harness while it works: stillroom shows its own progress."""
    try:
        import datasets
        import lm_eval.api.task as building
    except ModuleNotFoundError:  # said by name where the first task is looked for
        yield
        return

    def plain(documents: Sequence[Any], total: int) -> Sequence[Any]:
        return documents

    chatty = [logging.getLogger(name) for name in ("lm_eval", "transformers")]
    levels, bar, bars = [each.level for each in chatty], building.tqdm, datasets.is_progress_bar_enabled()
    for each in chatty:
        each.setLevel(logging.ERROR)
    building.tqdm = plain  # pyrefly: ignore
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        for each, level in zip(chatty, levels, strict=True):
            each.setLevel(level)
        building.tqdm = bar
        if bars:
            datasets.enable_progress_bars()
