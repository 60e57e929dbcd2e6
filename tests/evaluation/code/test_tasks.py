import json
import os
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.evaluation.code.tasks import code_tasks, cut_at

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[4] / "shared" / "data"))
MBPP = DATA / "code" / "mbpp.jsonl"


def mbpp_row(number, code="def f():\r\n    return {}\r\n"):
    return {
        "task_id": number,
        "text": f"Task {number}.",
        "code": code.format(number),
        "test_setup_code": "import math",
        "test_list": [f"assert f() == {number}", f"assert f() + 0 == {number}", f"assert {number} == f()"],
    }


@pytest.fixture
def mbpp(tmp_path):
    path = tmp_path / "mbpp.jsonl"
    numbers = [600, 510, 12, 11, 511, 10, 4, 3, 2, 1]
    path.write_text("\n".join(json.dumps(mbpp_row(number)) for number in numbers))
    return str(path)


def test_mbpp_shows_three_solved_tasks_and_asks_the_next_one(mbpp):
    tasks = code_tasks("mbpp", mbpp)
    assert [task.name for task in tasks] == ["mbpp/11", "mbpp/12", "mbpp/510"]
    question = (
        "You are an expert Python programmer, and here is your task: Task {0}. Your code should pass these "
        "tests:\n\nassert f() == {0}\nassert f() + 0 == {0}\nassert {0} == f()\n[BEGIN]\n"
    )
    solved = "".join(question.format(n) + f"def f():\n    return {n}\n\n[DONE]\n\n" for n in (2, 3, 4))
    assert tasks[0].prompt == solved + question.format(11)
    assert tasks[0].program("def f():\r\n    return 11\r\n[DONE]\n\nYou are") == (
        "def f():\n    return 11\n\nimport math\nassert f() == 11\nassert f() + 0 == 11\nassert 11 == f()\n"
    )


def test_mbpp_as_a_docstring(mbpp):
    task = code_tasks("mbpp_docstring", mbpp)[1]
    assert task.prompt == '"""\nTask 12.\nassert f() == 12\n"""\n'
    program = task.program("def f():\n    return 12\n\nprint(f())\nclass A")
    assert program.startswith(task.prompt + "def f():\n    return 12\n\nimport math\nassert f() == 12\n")


def test_humaneval_continues_the_signature(tmp_path):
    row = {
        "task_id": "HumanEval/0",
        "prompt": 'def add(a, b):\n    """Sum."""\n',
        "canonical_solution": "    return a + b\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
        "entry_point": "add",
    }
    path = tmp_path / "humaneval.jsonl"
    path.write_text(json.dumps(row))
    (task,) = code_tasks("humaneval", str(path))
    assert task.prompt == row["prompt"]
    expected = row["prompt"] + "    return a + b\n\n" + row["test"] + "\ncheck(add)\n"
    assert task.program(task.solution) == expected
    assert task.program("    return a + b\n\ndef other():\n    pass") == expected
    exec(expected, {})


def test_an_answer_ends_at_the_first_stop():
    assert cut_at("a\r\nb[DONE]c\nclass", ("\nclass", "[DONE]")) == "a\nb"
    assert cut_at("a", ("x",)) == "a"
    assert cut_at("", ()) == ""


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([mbpp_row(n) for n in (2, 3, 11)], r"lacks the solved examples .*\[4\]"),
        ([mbpp_row(n) for n in (2, 3, 4)], "none of the test tasks"),
        ([{**mbpp_row(11), "test_list": []}], "field 'test_list'"),
        ([{"task_id": 11, "text": "x"}], "field 'code'"),
        ([{"prompt": "x"}], "field 'task_id'"),
    ],
)
def test_other_data_is_refused(tmp_path, rows, sentence):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(BadInput, match=sentence):
        code_tasks("mbpp", str(path))


def test_an_unknown_exam_is_refused():
    with pytest.raises(BadInput, match="mbpp, mbpp_docstring, humaneval"):
        code_tasks("apps")


@pytest.mark.skipif(not MBPP.exists(), reason="MBPP is not here")
def test_real_mbpp_has_500_test_tasks_without_carriage_returns():
    for style in ("mbpp", "mbpp_docstring"):
        tasks = code_tasks(style, str(MBPP))
        assert [task.name for task in tasks] == [f"mbpp/{number}" for number in range(11, 511)]
        assert not any("\r" in task.prompt + task.tests + task.solution for task in tasks)
