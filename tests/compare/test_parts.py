"""Small parts of comparisons: Holm's correction, seeds, the sheet, the live table, lists of objectives."""

import errno
import io
import json
import os
import random
import sys
import time
from types import SimpleNamespace

import pytest
from reference.holm import rejected
from rich.console import Console
from stand_in import BASE, written

from stillroom.compare.from_recipe import plan_from_objectives
from stillroom.compare.holm import holm
from stillroom.compare.live import LiveTable, last_row
from stillroom.compare.lock import locked
from stillroom.compare.plan import read_plan
from stillroom.compare.processes import Standing, Work, work_off
from stillroom.compare.schedule import schedule
from stillroom.compare.seeds import seeds_from
from stillroom.compare.sheet import safe, sheet
from stillroom.compare.words import exams_from, rates_from
from stillroom.core.errors import BadInput


@pytest.mark.parametrize("seed", range(4))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed):
    rolls = random.Random(seed)
    ps = [rolls.random() ** 3 for _ in range(7)]
    adjusted = list(holm({str(i): p for i, p in enumerate(ps)}).values())
    for level in [0.001 * 1.5**i for i in range(17)]:
        assert [each <= level for each in adjusted] == rejected(ps, level)


def test_holm_of_one_is_itself_and_never_above_one():
    assert holm({"a": 0.03}) == {"a": 0.03}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("5", [10, 11, 12, 13, 14]), ("2", [10, 11]), ("7,", [7]), ("3,1,3", [3, 1])],
)
def test_seeds_are_counted_or_named(text, seeds):
    assert seeds_from(text, [10, 11, 12]) == seeds


@pytest.mark.parametrize("text", ["0", "101", "x", "", "-1,2", ","])
def test_seeds_that_say_nothing_are_refused(text):
    with pytest.raises(BadInput, match="--seeds"):
        seeds_from(text, [10])


def test_learning_rates_of_the_command_line():
    assert rates_from("1e-4, 3e-4,1e-4") == [1e-4, 3e-4]
    for text in ("", "a", "0", "inf", "nan"):
        with pytest.raises(BadInput, match="numbers above 0"):
            rates_from(text)


def test_exams_of_the_command_line_come_before_those_of_the_file():
    typed = exams_from(["dolly", "self_inst=a=b"], "minillm", None, None)
    assert (typed.on, typed.protocol, typed.limit) == ({"dolly": None, "self_inst": "a=b"}, "minillm", None)
    again = exams_from(None, None, 7, typed)
    assert (again.on, again.protocol, again.limit) == (typed.on, "minillm", 7)
    assert exams_from(None, None, None, None) is None
    with pytest.raises(BadInput, match="expected clean or minillm"):
        exams_from(["dolly"], "dirty", None, None)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-cmd", "@x", " =1", "\t=1"])
def test_text_that_a_spreadsheet_would_run_is_guarded(text):
    assert safe(text) == "'" + text


def test_a_sheet_keeps_numbers_and_commas():
    run = {"seed": 1, "loss": -1.5, "curve": [], "measures": {"a": 2}, "tests": {"dolly": {"rouge_l": 3.0}}}
    content = {"variants": {"=SUM(A1)": {"learning_rate": 1e-3, "runs": [run]}, "a, b": {"runs": [run]}}}
    lines = sheet(content).splitlines()
    assert lines[0] == "variant,learning_rate,seed,loss,measure/a,test/dolly/rouge_l"
    assert lines[1] == "'=SUM(A1),0.001,1,-1.5,2,3.0"
    assert lines[2].startswith('"a, b",,1,')
    assert sheet({"variants": {}}) == "variant,learning_rate,seed\n"


# --- lists of objectives ------------------------------------------------------------------------------------------


def planned(*objectives, own=None, **settings):
    values = BASE | ({"objectives": own} if own else {})
    return plan_from_objectives(values, objectives, [10], **settings)


def test_hard_labels_are_always_among_them_and_all_are_paired_with_them():
    plan = planned("logits.forward_kl", "logits.forward_kl+attention.sharp")
    assert list(plan.variants) == ["hard labels", "logits.forward_kl", "logits.forward_kl+attention.sharp"]
    assert plan.variants["logits.forward_kl+attention.sharp"] == {
        "objectives": ["logits.forward_kl", "attention.sharp"]
    }
    assert plan.against == "hard labels"
    assert planned("logits.forward_kl", against="logits.forward_kl").against == "logits.forward_kl"


def test_the_recipe_is_a_variant_unless_it_is_named():
    own = [{"use": "logits.forward_kl", "temperature": 2.0}]
    plan = planned("logits.reverse_kl", own=own)
    assert list(plan.variants) == ["hard labels", "as in the recipe", "logits.reverse_kl"]
    assert plan.variants["as in the recipe"] == {}
    named = planned("logits.forward_kl", own=own)
    assert named.variants == {
        "hard labels": {"objectives": ["hard.cross_entropy"]},
        "logits.forward_kl": {},
    }


def test_a_recipe_on_hard_labels_is_the_baseline():
    plan = planned("logits.forward_kl", own=["hard.cross_entropy"])
    assert (plan.against, plan.variants["hard labels"]) == ("hard labels", {})


# --- the live table -----------------------------------------------------------------------------------------------


def test_the_live_table_says_where_each_variant_stands(tmp_path):
    plan = read_plan(
        written(
            tmp_path,
            variants={"[red]": {"objectives": ["logits.renyi"]}, "KD": {"objectives": ["logits.forward_kl"]}},
        )
    )
    wanted = schedule(plan, tmp_path / "runs")
    for name, loss in (("kd", 5.0), ("hard_labels", 6.0)):
        folder = tmp_path / "runs" / f"{name}-seed10"
        folder.mkdir(parents=True)
        summary = {"name": name, "exit": "done", "final": {"loss": loss}, "steps": 20}
        (folder / "run.json").write_text(json.dumps(summary))
    now = tmp_path / "runs" / "red-seed11"
    now.mkdir()
    (now / "metrics.jsonl").write_text('{"step": 4, "tokens": 900, "seconds": 3.0}\n{"step": 5, "tok')
    out = io.StringIO()
    shown = LiveTable(wanted, Console(file=out, width=120))
    live = [SimpleNamespace(work=SimpleNamespace(name="red-seed11"), since=time.monotonic())]
    standing = Standing(9, 1, live=live, spent=[60.0, 60.0], failures={"x": "y"})
    shown.console.print(shown.table(standing))
    text = out.getvalue()
    assert "2 of 9 done, 1 failed, about 7\xa0min left" in text
    assert "[red]" in text
    assert " seed11: step 4/20, 300 tokens/s" in text
    row = next(line for line in text.splitlines() if line.startswith("hard labels"))
    assert row.split()[2:] == ["1/3", "6.0000", "+1.0000"]


def test_the_live_table_is_drawn_and_lets_lines_through(tmp_path):
    out = io.StringIO()
    wanted = schedule(read_plan(written(tmp_path)), tmp_path / "runs")
    with LiveTable(wanted, Console(file=out, force_terminal=True, width=100)) as shown:
        shown(Standing(3, 1))
        shown.say("[bold] is no markup")
    assert "0 of 3 done" in out.getvalue()
    assert "[bold] is no markup" in out.getvalue()


def test_the_last_whole_line_of_a_file_that_grows(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert last_row(path) == {}
    path.write_text('{"step": 1}\n' + '{"step": 2, "x": "' + "y" * 5000 + '"}\n{"step": 3')
    assert last_row(path) == {}
    path.write_text('{"step": 1}\n{"step": 2}\nbroken\n{"ste')
    assert last_row(path) == {"step": 2}


# --- the folder ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "raised"), [(errno.ENOSPC, BadInput), (errno.EIO, OSError)])
def test_a_full_disk_is_a_sentence_and_a_broken_one_is_not(tmp_path, number, raised):
    with pytest.raises(raised) as caught, locked(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "compare.json"))
    if raised is BadInput:
        assert str(caught.value).startswith(
            f"{tmp_path}/compare.json cannot be written (No space left on device);"
        )


def test_what_failed_before_a_stop_is_known_after_it(tmp_path):
    def stop(now):
        if now.failures:
            raise KeyboardInterrupt

    work = Work("one", tmp_path / "log", lambda: [sys.executable, "-c", "raise SystemExit('it broke')"], str)
    failed = {}
    with pytest.raises(KeyboardInterrupt):
        work_off([work, work], 1, lambda text: None, stop, failed)
    assert failed == {"one": "it broke"}
