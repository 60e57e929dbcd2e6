from compared import comparison, noisy

from stillroom.report.comparison_published import published_table
from stillroom.report.measured import sheets

LOSSES = noisy({"base": 0.1, "better": 0.0, "worse": 0.3, "equal": 0.1001})


def cells(published):
    content = comparison(LOSSES, "base", published=published)
    table = published_table(content, sheets(content))
    return {row.split("</th>")[0].split(">")[-1]: row for row in table.split("<tr>")[2:]}, table


def test_ours_stands_below_with_the_direction_of_the_effect():
    rows = {"base": 3.0, "better": 2.9, "worse": 2.5, "equal": 3.2, "other": 1.0}
    found, _ = cells({name: {"loss": value} for name, value in rows.items()})
    assert "ours 5.000, same direction" in found["better"]
    assert "ours 5.300, opposite direction" in found["worse"]
    assert "ours 5.100, direction open" in found["equal"]
    assert "direction" not in found["base"]
    assert "ours" not in found["other"]


def test_a_metric_by_another_name_that_is_better_when_large():
    columns = {"score": {"better": "higher", "ours": "loss"}, "elsewhere": {"ours": ["tests", "none", "x"]}}
    rows = {"base": {"score": 50.0, "elsewhere": 1.0}, "better": {"score": 60.0}, "worse": {"score": "n/a"}}
    found, table = cells(
        {"source": "A paper, Table 1", "columns": columns, "rows": rows, "cannot_compare": ["Why."]}
    )
    assert "ours 5.000, same direction" in found["better"]
    assert "n/a" in found["worse"]
    assert "A paper, Table 1" in table
    assert "Why." in table
    assert "never one number with the other" in table


def test_what_a_reproduction_says_of_the_columns():
    columns = {"score": {"better": "lower", "ours": ["loss"], "paper": ["tests", "dolly", "rouge_l"]}}
    content = comparison(LOSSES, "base", published={"base": {"score": 3.0}, "better": {"score": 2.0}})
    for variant in content["variants"].values():
        for each in variant["runs"]:
            each["tests"] = {"dolly": {"rouge_l": 20.0}}
    content["reproduction"] = {
        "scale": "tiny",
        "source": "Table 2",
        "columns": columns,
        "cannot_compare": ["So."],
    }
    table = published_table(content, sheets(content))
    assert "ours 5.000, same direction" in table
    assert "direction (held-out loss)" in table
    assert "Table 2" in table
    assert "So." in table
    content["reproduction"]["scale"] = "paper"
    assert "ours 20.00" in published_table(content, sheets(content))


def test_an_exam_goes_before_its_metric():
    content = comparison(LOSSES, "base", published={"base": {"dolly Rouge-L": 20.0}})
    for variant in content["variants"].values():
        for each in variant["runs"]:
            each["tests"] = {"dolly": {"rouge_l": 21.5}}
    assert "ours 21.50" in published_table(content, sheets(content))


def test_nothing_published_is_no_section():
    assert published_table({}, sheets({})) is None
    assert published_table({"published": {"rows": {}, "source": "x"}}, sheets({})) is None
