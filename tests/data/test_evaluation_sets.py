import json
import os
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.evaluation_sets import SETS, SUMMARIZE, EvaluationSet, read_evaluation_set
from stillroom.data.templates import Alpaca

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[2] / "../shared/data"))
REAL = [
    ("dolly", "dolly/minillm_test500.jsonl"),
    ("self_inst", "eval/self_inst_242.jsonl"),
    ("vicuna", "eval/vicuna_80.jsonl"),
    ("wizardlm", "eval/wizardlm_evol_testset.jsonl"),
]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(("name", "path"), REAL)
def test_real_files_are_read_whole(name, path):
    if not (DATA / path).exists():
        pytest.skip(f"{path} is not there; set STILLROOM_DATA")
    chosen = SETS[name]
    samples, notes = read_evaluation_set(chosen, str(DATA / path))
    assert len(samples) == chosen.rows
    assert notes == []
    assert all(sample.question.text.strip() for sample in samples)
    assert all(bool(sample.response.strip()) is chosen.has_references for sample in samples)
    assert not any("### Instruction" in sample.question.text for sample in samples), (
        "a rendered prompt was read"
    )


@pytest.mark.parametrize(("name", "path"), REAL[:3])
def test_the_template_writes_the_prompts_that_minillm_ships(name, path):
    if not (DATA / path).exists():
        pytest.skip(f"{path} is not there; set STILLROOM_DATA")
    samples, _ = read_evaluation_set(SETS[name], str(DATA / path))
    shipped = [json.loads(line)["prompt"] for line in (DATA / path).read_text().splitlines()]
    assert [Alpaca().render(sample).prompt_text for sample in samples] == shipped


def test_another_number_of_records_is_noticed(tmp_path):
    source = written(tmp_path / "a.jsonl", [{"instruction": "Q", "output": "A"}])
    samples, notes = read_evaluation_set(SETS["dolly"], source)
    assert len(samples) == 1
    assert "has 1 records, the published set 500" in notes[0]


def test_lists_are_references_and_the_first_is_the_response(tmp_path):
    source = written(tmp_path / "a.jsonl", [{"instruction": "Q", "input": "I", "output": ["A", "B"]}])
    (sample,) = read_evaluation_set(SETS["sni"], source)[0]
    assert sample.references == ("A", "B")
    assert sample.response == "A"
    assert sample.question.text == "Q\n\nI"


def test_one_dialogue_with_three_summaries_is_one_question(tmp_path):
    rows = [
        {"id": f"test_{d}_{s}", "dialogue": f"talk {d}", "summary": f"sum {d}{s}"}
        for d in (0, 1)
        for s in (1, 2, 3)
    ]
    samples, _ = read_evaluation_set(SETS["dialogsum"], written(tmp_path / "a.jsonl", rows))
    assert [sample.references for sample in samples] == [
        ("sum 01", "sum 02", "sum 03"),
        ("sum 11", "sum 12", "sum 13"),
    ]
    assert samples[0].question.text == f"{SUMMARIZE}\n\ntalk 0"
    wide = [{"dialogue": "talk", "summary1": "a", "summary2": "b", "summary3": "b"}]
    (sample,) = read_evaluation_set(SETS["dialogsum"], written(tmp_path / "b.jsonl", wide))[0]
    assert sample.references == ("a", "b")


def test_questions_without_references_have_an_empty_response(tmp_path):
    source = written(tmp_path / "a.jsonl", [{"Instruction": "Q", "Skill": "Math"}])
    (sample,) = read_evaluation_set(SETS["wizardlm"], source)[0]
    assert (sample.question.text, sample.response) == ("Q", "")
    davinci = written(tmp_path / "b.jsonl", [{"instruction": "Q", "output": "what another model said"}])
    assert read_evaluation_set(SETS["alpaca_eval"], davinci)[0][0].response == ""


def test_the_first_records_only_where_papers_take_those(tmp_path):
    chosen = EvaluationSet("unni", "", None, first=2)
    rows = [{"instruction": f"Q{n}", "output": "A"} for n in range(5)]
    assert len(read_evaluation_set(chosen, written(tmp_path / "a.jsonl", rows))[0]) == 2


def test_own_text_has_the_columns_of_training_data(tmp_path):
    own = EvaluationSet("mine", "", None)
    (sample,) = read_evaluation_set(own, written(tmp_path / "a.jsonl", [{"prompt": "Q", "completion": "A"}]))[
        0
    ]
    assert sample.response == "A"


def test_what_is_missing_is_named_with_its_place(tmp_path):
    source = written(
        tmp_path / "a.jsonl", [{"instruction": "Q", "output": "A"}, {"instruction": "Q", "outputs": "A"}]
    )
    with pytest.raises(BadInput, match=r"a\.jsonl:2: no column output .*did you mean 'output' by 'outputs'"):
        read_evaluation_set(SETS["dolly"], source)
    with pytest.raises(BadInput, match=r"wizardlm=PATH"):
        read_evaluation_set(SETS["wizardlm"])
    with pytest.raises(BadInput, match=r"no column dialogue"):
        read_evaluation_set(SETS["dialogsum"], source)
