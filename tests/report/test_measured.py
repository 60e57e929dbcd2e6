from compared import SEEDS, comparison

from stillroom.report.measured import overview, sheets
from stillroom.report.standings import standings


def test_higher_is_better_where_it_is():
    content = comparison({"a": [5.0, 5.0, 5.0], "b": [5.0, 5.0, 5.0]}, "a")
    for name, by in (("a", 0.0), ("b", 1.0)):
        for place, each in enumerate(content["variants"][name]["runs"]):
            each["tests"] = {
                "code": {"pass@1": 30 + by + place, "shape": 4.0, "pass@1/seed3": 99.0, "lost": float("nan")}
            }
    code = sheets(content)[1]
    assert {column.key: column.better for column in code.columns} == {"pass@1": "higher", "shape": ""}
    assert [each.name for each in standings(code, code.main)] == ["b", "a"]
    assert code.difference(code.main, "b", "a").wins == 3


def test_overview_of_exams_has_the_mean_over_them_by_seed():
    content = comparison({"a": [5.0] * 5, "b": [5.0] * 5}, "a")
    for name, variant in content["variants"].items():
        for each in variant["runs"]:
            up = each["seed"] + (1.0 if name == "b" else 0.0)
            each["tests"] = {"dolly": {"rouge_l": up, "loss": 3.0}, "vicuna": {"rouge_l": 2 * up}}
    del content["variants"]["b"]["runs"][0]["tests"]["vicuna"]
    content["tests"] = {"marks": {"teacher": {"dolly": {"rouge_l": 20.0}, "vicuna": {"rouge_l": 40.0}}}}
    sheet = overview(sheets(content))
    mean, *single = sheet.columns
    assert [column.title for column in single] == ["Rouge-L on dolly", "Rouge-L on vicuna"]
    assert sheet.values["a"][mean.key] == {seed: 1.5 * seed for seed in SEEDS}
    assert sheet.values["b"][mean.key] == {seed: 1.5 * (seed + 1) for seed in SEEDS[1:]}
    assert sheet.marks["teacher"][mean.key] == 30.0
    assert overview(sheets(comparison({"a": [1.0]}, "a"))) is None


def test_what_is_missing_is_missing():
    assert sheets({})[0].columns == []
    assert sheets({"variants": {"a": {}}})[0].main is None


def test_an_exam_of_the_teachers_answers_and_one_of_the_harness():
    content = comparison({"a": [5.0, 5.0], "b": [5.0, 5.0]}, "a")
    for by, variant in enumerate(content["variants"].values()):
        for place, each in enumerate(variant["runs"]):
            value = 4.0 - by + place / 10
            marks = {"loss_to_teacher": value, "perplexity_to_teacher": 9.0, "rouge_l_to_teacher": value}
            drop = {"em": value, "em_stderr": value, "f1": value, "documents": 3.0, "shots": 3.0, "cut": 0.0}
            each["tests"] = {"koala": marks, "drop": drop}
    koala, drop = sheets(content)[1:]
    assert [(c.key, c.better) for c in koala.columns] == [
        ("loss_to_teacher", "lower"),
        ("rouge_l_to_teacher", "higher"),
        ("perplexity_to_teacher", "lower"),
    ]
    assert koala.main.title == "Loss (teacher's answers)"
    assert [(c.key, c.better) for c in drop.columns] == [("em", "higher"), ("f1", "higher")]
