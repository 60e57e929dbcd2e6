import io

import pytest
from rich.console import Console

from stillroom.core.errors import BadInput
from stillroom.report.terminal import summary_table


def printed(*folders, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(folders))
    return console.file.getvalue().replace("\u00a0", " ")


def test_same_digits_as_the_page(make_run):
    text = printed(make_run(), make_run("hard labels", loss=2.943))
    for expected in ("12.06", "31.19", "17.37", "18.97", "61.2 %", "6.40 GiB", "1 h 12 min", "hard labels"):
        assert expected in text


def test_names_are_no_markup(make_run):
    text = printed(make_run("[bold red]x[/] \x1b[31m"))
    assert "[bold red]x[/] [31m" in " ".join(text.split())
    assert "\x1b" not in text


def test_metrics_without_any_value_are_left_out(make_run):
    text = printed(make_run(final={}, baseline={}, teacher={}))
    assert "Perplexity" not in text
    assert "Trained" in text


def test_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput):
        summary_table([tmp_path])
