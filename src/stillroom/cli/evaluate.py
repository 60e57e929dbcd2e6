"""`stillroom evaluate`: marks of a model on held-out text (`--data`) or in exams by name (`--on`)."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stillroom.cli.options import AsJson, Quiet, TeacherName
from stillroom.core.errors import BadInput

if TYPE_CHECKING:
    from stillroom.recipe.exams import ExamResults


def evaluate(
    model: Annotated[str | None, typer.Argument(help="A run folder, a model folder or a Hub name.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Held-out text: JSONL, JSON, Parquet or a Hub name.")
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option("--on", help="Exam by name, NAME or NAME=PATH; --list shows all. Repeatable."),
    ] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="With --on: clean or minillm.")] = "clean",
    teacher: TeacherName = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="With --on: model that reads the texts (perplexity).")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="With --on: sampling seeds, for example 10,20,30.")
    ] = None,
    shots: Annotated[
        list[str] | None, typer.Option("--shots", help="With --on: NAME=K examples before a question.")
    ] = None,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="With --on: run code that the model writes.")
    ] = False,
    inside_container: Annotated[
        bool,
        typer.Option("--i-run-inside-a-container", help="The machine is the sandbox for that code."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="With --on: file of the results; goes on where it is there."),
    ] = None,
    template: Annotated[str, typer.Option("--template", help="alpaca, chat or plain.")] = "alpaca",
    max_length: Annotated[int, typer.Option("--max-length", min=8, help="Tokens of a sample at most.")] = 512,
    prompts: Annotated[
        int | None,
        typer.Option("--prompts", min=0, help="Prompts to answer (100 with --data, all with --on); 0: none."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Use only so many samples.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="With --data: only these, not all that can be had.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the exams and leave.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Marks of a model: on held-out text (--data), or in exams by name (--on)."""
    if list_:
        _list(as_json)
        return
    if model is None or (data is None) == (not on):
        raise BadInput("give a model and either --data FILE or --on NAME[=PATH]; --list shows the exams.")
    from stillroom.cli.display import display

    shown = display(quiet or as_json)
    if data is not None:
        from stillroom.recipe.judge import judge as judge_text

        marks = judge_text(
            model,
            data,
            teacher=teacher,
            template=template,
            max_length=max_length,
            prompts=100 if prompts is None else prompts,
            limit=limit,
            metrics=metric or (),
            display=shown,
        )
        print(json.dumps(marks, indent=2) if as_json else _columns(marks))
        return
    from stillroom.recipe.exams import sit_exams

    _check_exam_options(max_length, metric)
    results = sit_exams(
        model,
        _sources(on or []),
        protocol=protocol,
        teacher=teacher,
        limit=limit,
        seeds=_numbers(seeds, "--seeds"),
        prompts=prompts,
        template=template,
        judge=judge,
        shots=_shots(shots or []),
        allow_code_execution=allow_code_execution,
        inside_container=inside_container,
        output=output,
        display=shown,
    )
    _show(results, output, as_json)


def _check_exam_options(max_length: int, metric: list[str] | None) -> None:
    """An option that would be ignored is a misunderstanding."""
    if max_length != 512 or metric:
        raise BadInput("--max-length and --metric go with --data; with --on the protocol says them.")


def _sources(on: list[str]) -> dict[str, str | None]:
    sources: dict[str, str | None] = {}
    for word in on:
        name, equals, path = word.partition("=")
        if not name or (equals and not path):
            raise BadInput(f"--on {word}: expected NAME or NAME=PATH, for example --on dolly=test.jsonl.")
        if name in sources:
            raise BadInput(f"--on {name} is given twice; give each exam once.")
        sources[name] = path or None
    return sources


def _shots(words: list[str]) -> dict[str, int]:
    shots = {}
    for word in words:
        name, _, count = word.partition("=")
        if not count.isdecimal():
            raise BadInput(
                f"--shots {word}: expected NAME=K with a whole number, for example --shots mmlu=5."
            )
        shots[name] = int(count)
    return shots


def _numbers(text: str | None, option: str) -> list[int]:
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise BadInput(f"{option} {text}: expected whole numbers with commas between, for example 10,20,30.")
    return [int(word) for word in words]


def _list(as_json: bool) -> None:
    from stillroom.evaluation.exams import EXAMS

    if as_json:
        print(
            json.dumps(
                {name: {"kind": each.kind, "about": each.about} for name, each in EXAMS.items()}, indent=2
            )
        )
        return
    for name, each in EXAMS.items():
        teacher = " (needs --teacher)" if each.needs_teacher else ""
        print(f"{name:<16}{each.kind:<9}{each.about}{teacher}")


def _show(results: "ExamResults", output: Path | None, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print(json.dumps(asdict(results), indent=2, ensure_ascii=False))
        return
    for name, marks in results.exams.items():
        print(name)
        print(_columns(marks, "  "))
    if any("sha256" in each for each in results.data.values()):
        print(f"texts were written under protocol {results.protocol['name']}")
    for note in results.notes:
        print(f"note: {note}")
    if output is not None:
        print(f"results  {output}")


def _columns(marks: dict[str, float], indent: str = "") -> str:
    width = max((len(name) for name in marks), default=0) + 2
    return "\n".join(f"{indent}{name:<{width}}{value:>10.4f}" for name, value in marks.items())
