"""Merged heads on the page and in the terminal, from an inspection made without a model."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from stillroom.core.inspection import (
    HeadPicture,
    Heads,
    Inspection,
    LayerMerges,
    LayerPicture,
    Merge,
    Place,
    Sentence,
    read_inspection,
    write_inspection,
)
from stillroom.core.record import INSPECTION
from stillroom.report.head_map import head_map, shade
from stillroom.report.heads import heads_section, heads_sentence
from stillroom.report.inspection_terminal import inspection_tables
from stillroom.report.merge_shares import merge_shares, shares_axis
from stillroom.report.page import write_report

ROWS = ["400 600", "100 200 700", "0 40 460 500"]
WITHIN = [0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.9]
BEYOND = [-0.5, 0.1, 0.4, 0.6, 0.7, 0.8, 1.25]
LOST = {"own shares": 0.1, "equal shares": 0.2, "one head alone": 0.5}


def layer(number: int, *outside: float, quantiles=WITHIN) -> LayerMerges:
    merges = [
        Merge(head, [2 * head, 2 * head + 1], [quantiles] * 2, each) for head, each in enumerate(outside)
    ]
    return LayerMerges(number, 2 * number, merges, sum(outside) / len(outside), dict(LOST))


def sentence(tokens=("The", "cat", "sat"), first=4) -> Sentence:
    merged = HeadPicture(0, [0, 1], [0.25, 0.75], 0.5, [ROWS, ROWS], ROWS, ROWS)
    alone = [HeadPicture(head, [head + 1], [1.0], None, [ROWS], ROWS, ROWS) for head in (1, 2, 3)]
    return Sentence(
        "the first held-out text", list(tokens), first, 30, [LayerPicture(1, 2, [merged, *alone])]
    )


def found(*layers: LayerMerges, **changed) -> Heads:
    values = {"sentence": sentence(), "notes": ["A note."], **changed}
    return Heads("attention.squeeze_heads", Place("end", 9), 64, list(layers), **values)


@pytest.fixture
def page(make_run, tmp_path):
    def written(*seen: Heads) -> str:
        folder = make_run()
        write_inspection(folder / INSPECTION, Inspection(steps=2000, heads=list(seen)))
        return write_report([folder], tmp_path / "page.html").read_text()

    return written


def test_the_page_has_shares_and_maps(page):
    text = page(found(layer(1, 0.0, 0.0), layer(2, 0.0)))
    for expected in (
        "Heads that attention.squeeze_heads merges",
        "never lie outside (3 merges in 2 layers, 64 texts)",
        "misses 10.0\u00a0% of what its heads write",
        "Student layer 2, teacher 4",
        "Student layer 1, teacher layer 2: KL 0.50",
        "tokens 5 to 7 of 30",
        "Merged</b> <small>0 + 1",
        "share 0.25",
        "KL 0.50",
        "A note.",
    ):
        assert expected in text, expected
    assert text.count('class="chart map"') == 4 + 3 * 2
    assert text.count('class="maps"') == 1 + 2  # two lone heads share a row


def test_what_is_outside_is_counted_over_all_merges():
    sentence = heads_sentence(found(layer(1, 0.5, 0.25), layer(2, 0.0)))
    assert "lie outside in 25.0\u00a0% of the cases" in sentence
    unmeasured = LayerMerges(1, 2, layer(1, 0.5).merges, 0.5, {})
    assert "misses" not in heads_sentence(found(unmeasured))


def test_the_axis_holds_what_lies_outside():
    assert shares_axis([layer(1, 0.0)]).low == pytest.approx(-0.03)
    axis = shares_axis([layer(1, 0.0), layer(2, 0.1, quantiles=BEYOND)])
    assert (axis.low, axis.high) == pytest.approx((-0.5525, 1.3025))
    html = merge_shares(layer(2, 0.1, quantiles=BEYOND), axis)
    assert "10.0\u00a0% outside" in html
    assert "share of teacher head 0, beside 1: median 0.60, half of the texts from 0.40 to 0.70" in html
    assert html.count("<polygon") == 1  # of a pair the first share alone
    three = LayerMerges(1, 1, [Merge(0, [0, 1, 2], [WITHIN] * 3, 0.0)], 0.0, {})
    assert merge_shares(three, axis).count("<polygon") == 3
    assert merge_shares(three, axis).count('class="tick x"') == 1


def test_many_layers_are_thinned_out():
    html = "".join(heads_section(found(*(layer(number, 0.0) for number in range(1, 49)), sentence=None)))
    assert html.count("<figure") == 12
    assert "12 of 48 layers" in html
    assert "Student layer 48, teacher 96" in html


def test_shares_that_were_not_measured_leave_the_maps(page):
    text = page(found(LayerMerges(1, 2, [], None, {})))
    assert "Merged</b>" in text
    assert "Median share" not in text
    assert "A note." in text


class Paths(HTMLParser):
    """Squares of a map: `(row, column) -> shade`, columns counted from the left edge."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left, self.squares = left, {}

    def handle_startendtag(self, tag, attrs):
        given = dict(attrs)
        if not given.get("class", "").startswith("shade"):
            return
        for stretch in given["d"].removeprefix("M").split("M"):
            start, width = stretch.split("h")
            x, y = map(int, start.split())
            for column in range(int(width) // 10):
                at = -1 if x < self.left else (x - self.left) // 10 + column
                self.squares[y // 10, at] = int(given["class"].removeprefix("shade"))


@pytest.mark.parametrize(("has_before", "left"), [(True, 14), (False, 0)])
def test_a_map_has_a_square_for_each_pair_of_tokens(has_before, left):
    html = head_map("Title", "", ["The", "cat", "sat"], ROWS, has_before)
    page = Paths(left)
    page.feed(html)
    expected = {
        (row, column - 1): shade(int(number) / 1000)
        for row, text in enumerate(ROWS)
        for column, number in enumerate(text.split())
        if (has_before or column) and int(number)
    }
    assert page.squares == expected
    assert "sat → sat 0.50, cat 0.46, The 0.04" in html
    assert ">cat</text>" in html


def test_shades():
    assert [shade(share) for share in (-0.1, 0.0, 0.003, 0.0625, 0.25, 1.0, 1.001)] == [0, 0, 0, 2, 4, 8, 8]


def test_tokens_are_escaped(page):
    text = page(found(layer(1, 0.0), sentence=sentence(("<img src=x>", "</title>", "\u202e"))))
    assert "<img" not in text
    assert "\u202e" not in text


def test_the_terminal(make_run, tmp_path):
    path = tmp_path / "inspection.json"
    seen = Inspection(steps=9, heads=[found(layer(1, 0.0), layer(2, 0.5)), found(sentence=None)])
    write_inspection(path, seen)
    assert read_inspection(path) == seen
    with Path("/dev/null").open("w") as nowhere:
        console = Console(width=80, record=True, file=nowhere)
        for part in inspection_tables(path):
            console.print(part)
    text = " ".join(console.export_text().split())
    assert "1 from 2 0.50 0.0 % 10.0 % 20.0 % 50.0 %" in text.replace("\u00a0", " ")
    assert "lie outside in 25.0 % of the cases" in text.replace("\u00a0", " ")
    assert "note: A note." in text
