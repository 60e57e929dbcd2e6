import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.data._docstrings import clean, documented
from stillroom.data._topics import topic_pieces
from stillroom.data.docs_split import REFERENCE
from stillroom.data.python_docs import harvest, prompted, write_harvest

MODULE = '''
"""Work with boxes."""

class Box(Base, metaclass=Meta):
    """A box that holds things of one kind.

    It is closed until opened.

    Parameters
    ----------
    size : int
    """

    def open(self, slowly: bool = False):
        """Open the box, see :meth:`~boxes.Box.close` and ``lid``."""

    def close(self):
        "Close."

if True:
    def pack(selfish, *, tight=True):
        """Pack things into a box
        without leaving air.

        >>> pack(1)
        Box

        Never reached.
        """
'''
TOPICS = r"""
topics = {'while': 'The "while" statement\n*********************\n\n'
 'Repeats its suite as long as\nan expression is true.\n\n   while_stmt ::= "while" expression\n\n'
 'It ends with the first false one.\n',
 'if': 'The "if" statement\n=================\n\nRuns one of several suites, the first whose test is true.\n'}
"""
BOX_AGAIN = '''
def same():
    """a box that holds things of one kind.

    It is closed until opened."""
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A standard library of five files: "json" is for training and "glob" is held out."""
    root = tmp_path / "lib"
    files = {
        "pydoc_data/topics.py": TOPICS,
        "json/__init__.py": MODULE,
        "json/copied.py": BOX_AGAIN,
        "glob.py": '''
def found():
    """Return every path that matches a pattern, in no particular order at all."""
def repeated():
    """Written: packing things into a box without leaving air is wise."""
''',
        "abc.py": 'def f():\n    """Packing things into a box without leaving air is wise, they say."""\n',
        "test/test_json.py": '"""A test module that nobody asks about."""\n',
        "broken.py": "def (:\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_documented_things_with_names_signatures_and_prose():
    found = {item.name: item for item in documented(MODULE, "boxes", 700)}
    assert list(found) == ["boxes", "boxes.Box", "boxes.Box.open", "boxes.Box.close", "boxes.pack"]
    assert [item.kind for item in found.values()] == ["module", "class", "method", "method", "function"]
    assert found["boxes.Box"].signature == "(Base)"
    assert found["boxes.Box"].text == "A box that holds things of one kind.\n\nIt is closed until opened."
    assert found["boxes.Box.open"].signature == "(slowly: bool=False)"
    assert found["boxes.Box.open"].text == "Open the box, see `boxes.Box.close` and `lid`."
    assert found["boxes.Box.close"].signature == "()"
    assert found["boxes.pack"].signature == "(selfish, *, tight=True)"
    assert found["boxes.pack"].text == "Pack things into a box without leaving air."


def test_a_bad_escape_in_a_file_is_no_warning():
    assert [item.text for item in documented('"""Matches \\d digits."""', "m", 99)] == ["Matches \\d digits."]


@pytest.mark.parametrize(
    ("docstring", "prose"),
    [
        ("One.\n\nTwo two.", "One.\n\nTwo two."),
        ("One.\n\n" + "x" * 60, "One."),
        ("x" * 61, ""),
        ("One.\n\nExample::\n\n    >>> f()", "One."),
        ("One.\n\nArgs:\n    x: it", "One."),
        (">>> first()\n\nThen prose.", "Then prose."),
        ("One.\n\n:param x: it", "One."),
        ("A list:\n\n- a\n- b", "A list:\n\n- a\n- b"),
        ("a ====  ====", "a ====  ===="),
        ("====  ====\nx  y\n====  ====", ""),
    ],
)
def test_cleaning_keeps_whole_paragraphs_of_prose(docstring: str, prose: str):
    assert clean(docstring, 60) == prose


def test_topics_are_cut_at_sections_and_paragraphs(library: Path):
    pieces = list(topic_pieces(library / "pydoc_data" / "topics.py", 90))
    assert pieces == [
        (
            'The "while" statement',
            1,
            'Repeats its suite as long as an expression is true.\n\n   while_stmt ::= "while" expression',
        ),
        ('The "while" statement', 2, "It ends with the first false one."),
        ('The "if" statement', 1, "Runs one of several suites, the first whose test is true."),
    ]


def test_a_library_without_topics_has_none(tmp_path: Path):
    assert list(topic_pieces(tmp_path / "topics.py", 90)) == []


def test_harvest_of_a_small_library(library: Path):
    harvested = harvest(packages=(), standard_library=library)
    assert {row["module"] for row in harvested.train} == {REFERENCE, "json", "abc"}
    assert [row["output"] for row in harvested.evaluation] == [
        "Return every path that matches a pattern, in no particular order at all."
    ]
    questions = [row["instruction"] for row in harvested.train]
    assert "Explain the `while` statement in Python." in questions
    assert any("`json.Box.open(slowly: bool=False)`" in question for question in questions)
    report = harvested.report
    assert report["duplicates"] == 1, "the same words with other marks and cases are one answer"
    assert report["overlapping"] == 1, "a held-out answer that repeats a training answer is dropped"
    assert report["unreadable"] == 1
    assert report["train"]["pairs"] == len(harvested.train)
    assert report["sources"]["standard library"]["modules"] == 3


def test_absent_packages_are_passed_over_and_long_ones_cut(library: Path):
    alone = harvest(packages=("no_such_package_here", "json.no_such_part"), standard_library=library)
    assert set(alone.report["sources"]) == {REFERENCE, "standard library"}
    cut = harvest(packages=("typer",), pairs_per_package=7, standard_library=library)
    assert cut.report["sources"]["typer"]["pairs"] <= 7


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(BadInput, match="limit=5"):
        harvest(limit=5)


def test_rows_are_written_for_the_plain_template(library: Path, tmp_path: Path):
    train, evaluation = write_harvest(harvest(packages=(), standard_library=library), tmp_path)
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    assert set(rows[0]) == {"prompt", "completion", "module", "source"}
    prompts = [row["prompt"] for row in rows]
    assert "### Question:\nExplain the `while` statement in Python.\n\n### Answer:\n" in prompts
    assert len(evaluation.read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.slow
def test_this_installation_gives_the_same_text_every_time_and_imports_nothing():
    script = textwrap.dedent("""
        import hashlib, json, sys
        from stillroom.data.python_docs import harvest
        harvested = harvest(packages=("typer",))
        print(hashlib.sha256(json.dumps([harvested.train, harvested.evaluation]).encode()).hexdigest())
        print(json.dumps(harvested.report))
        print(sorted({"torch", "transformers", "typer", "tkinter", "mailbox"} & set(sys.modules)))
    """)
    runs = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert run.stderr == ""
        runs.append(run.stdout)
    assert runs[0] == runs[1]
    digest, report, imported = runs[0].splitlines()
    assert len(digest) == 64
    assert imported == "[]"
    sizes = json.loads(report)
    assert sizes["train"]["pairs"] > 4000
    assert sizes["evaluation"]["pairs"] > 400
    assert sizes["unreadable"] == 0


def test_a_prompt_ends_where_the_answer_begins():
    row = {"instruction": "Why?", "input": "", "output": "So.", "module": "json", "source": "x"}
    assert prompted(row)["prompt"] + prompted(row)["completion"] == "### Question:\nWhy?\n\n### Answer:\nSo."
