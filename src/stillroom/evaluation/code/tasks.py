"""Programming tasks: what a model is asked, and which program is run to see whether its answer is right.

    mbpp              three solved tasks before each (2, 3 and 4), answers between [BEGIN] and [DONE]; Austin et al.
    mbpp_docstring    nothing before; the task and one test as a docstring, as InCoder and bigcode ask
    humaneval         a signature with a docstring to be continued; Chen et al.

Papers:   Austin et al. (2021), https://arxiv.org/abs/2108.07732; Chen et al. (2021), https://arxiv.org/abs/2107.03374
Code:     prompts and stop words of lm-evaluation-harness (mbpp, humaneval) and of bigcode-evaluation-harness
Differs:  the line ends CR LF in the data become LF, in solved examples too; `test_setup_code` is run

The styles of MBPP are different exams: their marks cannot be compared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stillroom.core.errors import BadInput
from stillroom.data.sources import Records, looks_like_path, read_records

MBPP_TEST = range(11, 511)
MBPP_SOLVED = (2, 3, 4)
MBPP_STOPS = ("[DONE]",)
DOCSTRING_STOPS = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif", "\n<|/", "\n```")
HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")


@dataclass(frozen=True)
class CodeTask:
    """One task. `opening` stands before what the model wrote, `tests` after it."""

    name: str
    prompt: str
    opening: str
    tests: str
    solution: str
    """A solution known to be right."""
    stops: tuple[str, ...]
    """The answer ends before the first of these."""

    def program(self, text: str) -> str:
        """What is run for an answer; `text` is what a model wrote, of any length."""
        return f"{self.opening}{cut_at(text, self.stops)}\n{self.tests}\n"


def cut_at(text: str, stops: tuple[str, ...]) -> str:
    """`text` before the first of `stops`, with line ends LF."""
    text = text.replace("\r\n", "\n")
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]


def code_tasks(name: str, source: str | None = None) -> list[CodeTask]:
    """All test tasks of the exam `name`, in the order of their numbers.

    `source` is a file or a Hub name; by default the data set's own. `BadInput` where a record lacks a field.
    """
    if name not in EXAMS:
        raise BadInput(f"there is no code exam {name!r}; choose from {', '.join(EXAMS)}.")
    hub_name, make = EXAMS[name]
    return make(source or hub_name)


def _mbpp(source: str) -> list[CodeTask]:
    tests, solved = _mbpp_rows(source)
    examples = "".join(_question(row) + row["code"] + "\n[DONE]\n\n" for row in solved)
    return [_mbpp_task(row, examples + _question(row), "", MBPP_STOPS) for row in tests]


def _mbpp_docstring(source: str) -> list[CodeTask]:
    tests, _ = _mbpp_rows(source)
    prompts = [f'"""\n{row["text"]}\n{row["test_list"][0]}\n"""\n' for row in tests]
    return [
        _mbpp_task(row, prompt, prompt, DOCSTRING_STOPS) for row, prompt in zip(tests, prompts, strict=True)
    ]


def _question(row: Mapping[str, Any]) -> str:
    tests = "\n".join(row["test_list"][:3])
    return (
        f"You are an expert Python programmer, and here is your task: {row['text']} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )


def _mbpp_task(row: Mapping[str, Any], prompt: str, opening: str, stops: tuple[str, ...]) -> CodeTask:
    tests = "\n".join(line for line in (row.get("test_setup_code"), *row["test_list"]) if line)
    return CodeTask(f"mbpp/{row['task_id']}", prompt, opening, tests, row["code"], stops)


def _mbpp_rows(source: str) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Tasks 11 to 510, and the three that are shown solved: one file holds both, the Hub keeps them apart."""
    fields = {"task_id": int, "text": str, "code": str, "test_list": list}
    rows = _checked(read_records(source, "test"), fields)
    by_number = {row["task_id"]: row for row in rows}
    tests = [by_number[number] for number in MBPP_TEST if number in by_number]
    if not tests:
        raise BadInput(
            f"{source} holds none of the test tasks of MBPP (task_id 11 to 510); give all of MBPP."
        )
    if not looks_like_path(source) and not set(MBPP_SOLVED) <= set(by_number):
        by_number |= {row["task_id"]: row for row in _checked(read_records(source, "prompt"), fields)}
    absent = [number for number in MBPP_SOLVED if number not in by_number]
    if absent:
        raise BadInput(
            f"{source} lacks the solved examples of MBPP (task_id {absent}), which stand before every task; "
            "give a file with all of MBPP."
        )
    return tests, [by_number[number] for number in MBPP_SOLVED]


def _humaneval(source: str) -> list[CodeTask]:
    fields = {"task_id": str, "prompt": str, "canonical_solution": str, "test": str, "entry_point": str}
    return [
        CodeTask(
            name=row["task_id"],
            prompt=row["prompt"],
            opening=row["prompt"],
            tests=f"{row['test']}\ncheck({row['entry_point']})",
            solution=row["canonical_solution"],
            stops=HUMANEVAL_STOPS,
        )
        for row in _checked(read_records(source, "test"), fields)
    ]


def _checked(records: Records, fields: Mapping[str, type]) -> list[Mapping[str, Any]]:
    for place, row in zip(records.places, records.rows, strict=True):
        for field, kind in fields.items():
            if not isinstance(row.get(field), kind) or (kind is list and not row[field]):
                raise BadInput(
                    f"{place}: a task needs the field {field!r} ({kind.__name__}), got "
                    f"{', '.join(map(repr, row))}; check that this is the data set you meant."
                )
    return [{key: _plain(value) for key, value in row.items()} for row in records.rows]


def _plain(value: Any) -> Any:
    """Texts and lists of texts with line ends LF."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value.replace("\r\n", "\n").replace("\r", "\n") if isinstance(value, str) else value


EXAMS: dict[str, tuple[str, Callable[[str], list[CodeTask]]]] = {
    "mbpp": ("google-research-datasets/mbpp", _mbpp),
    "mbpp_docstring": ("google-research-datasets/mbpp", _mbpp_docstring),
    "humaneval": ("openai/openai_humaneval", _humaneval),
}
"""Every exam with the Hub name of its data and what makes tasks of them."""
