import pytest

from stillroom.report.comparison_published import published_table

ROWS = {"base": {"MMLU, %": 20.0}, "better": {"MMLU, %": 25.0, "speed": "n/a"}}


def pair(variant, mean, verdict):
    return {
        "variant": variant,
        "column": "MMLU, %",
        "ours_is": "tests mmlu acc",
        "mean": mean,
        "same_direction": verdict,
    }


def cells(*pairs, **more):
    found = {"source": "A paper, Table 1", "cannot_compare": ["Why."], "pairs": pairs}
    table = published_table({"published": ROWS, "reproduction": found} | more)
    return {row.split("</th>")[0].split(">")[-1]: row for row in table.split("<tr>")[2:]}, table


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("yes", ", same direction<"),
        ("no", ", opposite direction<"),
        ("cannot tell: one seed", ", direction open<"),
        ("", "<"),
    ],
)
def test_ours_stands_below_in_the_unit_of_the_column(verdict, words):
    found, table = cells(pair("better", 23.456, verdict), pair("base", None, ""))
    assert f'25<span class="unit">ours 23.46 (tests mmlu acc){words}' in found["better"]
    assert "ours" not in found["base"]
    assert "n/a" in found["better"]
    assert "A paper, Table 1" in table
    assert "Why." in table
    assert "never one number with the other" in table


def test_a_comparison_file_that_only_prints_them():
    table = published_table({"published": {"rows": ROWS, "source": "Table 2", "cannot_compare": ["So."]}})
    assert "Table 2" in table
    assert "So." in table
    assert "ours" not in table


def test_nothing_published_is_no_section():
    assert published_table({}) is None
    assert published_table({"published": {"rows": {}, "source": "x"}}) is None
