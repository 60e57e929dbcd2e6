import json

import pytest
from folders import jsonl, model_folder

from stillroom.core.errors import BadInput
from stillroom.core.record import read_jsonl
from stillroom.recipe import examination_room
from stillroom.recipe.exams import sit_exams


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two models, two small sets, one without references."""
    root = tmp_path_factory.mktemp("exams")
    model_folder(root / "teacher", seed=2, width=32)
    model_folder(root / "student", seed=1)
    rows = [{"instruction": f"What is number {i}?", "output": f"It is {i}."} for i in range(4)]
    jsonl(root / "dolly.jsonl", rows)
    jsonl(root / "wizardlm.jsonl", [{"Instruction": row["instruction"]} for row in rows])
    return root


@pytest.fixture
def no_weights(monkeypatch):
    """Loading a weight is an error."""

    def refuse(*_, **__):
        raise AssertionError("a weight was loaded")

    monkeypatch.setattr(examination_room, "load_student", refuse)
    monkeypatch.setattr(examination_room, "load_teacher", refuse)


def on(world, *names):
    return {name: str(world / f"{name}.jsonl") for name in names}


def test_marks_samples_and_every_setting_are_on_disk(world, tmp_path):
    output = tmp_path / "test.json"
    found = sit_exams(
        str(world / "student"),
        on(world, "dolly", "wizardlm"),
        teacher=str(world / "teacher"),
        judge=str(world / "teacher"),
        limit=2,
        output=output,
    )
    content = json.loads(output.read_text())
    assert content["exams"] == found.exams
    assert {
        "rouge_l",
        "loss",
        "perplexity",
        "teacher_kl",
        "agreement",
        "calibration_error",
        "judge_perplexity",
    } <= set(content["exams"]["dolly"])
    assert "rouge_l_to_teacher" in content["exams"]["wizardlm"]
    assert (content["protocol"]["name"], content["protocol"]["limit"]) == ("clean", 2)
    assert content["data"]["dolly"]["samples"] == 2
    assert content["speed"]["dolly"]["tokens_per_second"] > 0
    assert any(note.startswith("wizardlm: The set has no references") for note in content["notes"])
    assert {"torch", "transformers", "python"} <= content["versions"].keys()
    rows = read_jsonl(tmp_path / "test.samples.jsonl")
    assert [row["exam"] for row in rows] == ["dolly", "dolly", "wizardlm", "wizardlm"]
    assert set(rows[0]) == {"exam", "prompt", "reference", "text"}


def test_a_stopped_sitting_goes_on_with_what_is_missing(world, tmp_path, monkeypatch):
    output, asked = tmp_path / "test.json", on(world, "dolly", "wizardlm")
    settings = {"teacher": str(world / "teacher"), "limit": 1, "output": output}
    real = examination_room.ExaminationRoom.sit
    sat = []

    def stop_at_second(room, name, advance):
        if name == "wizardlm" and len(sat) == 1:
            raise KeyboardInterrupt
        sat.append(name)
        return real(room, name, advance)

    monkeypatch.setattr(examination_room.ExaminationRoom, "sit", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        sit_exams(str(world / "student"), asked, **settings)
    first = json.loads(output.read_text())["exams"]
    assert list(first) == ["dolly"]
    sat[:] = [None, None]
    found = sit_exams(str(world / "student"), asked, **settings)
    assert sat[2:] == ["wizardlm"]
    assert found.exams["dolly"] == first["dolly"]
    assert [row["exam"] for row in read_jsonl(tmp_path / "test.samples.jsonl")] == ["dolly", "wizardlm"]
    sit_exams(str(world / "student"), asked, **settings | {"limit": 2})
    assert sat[3:] == ["dolly", "wizardlm"], "another limit is another exam"


def test_a_finished_sitting_loads_no_weight(world, tmp_path, request):
    output = tmp_path / "test.json"
    before = sit_exams(str(world / "student"), on(world, "dolly"), limit=1, output=output)
    request.getfixturevalue("no_weights")
    assert sit_exams(str(world / "student"), on(world, "dolly"), limit=1, output=output).exams == before.exams
    with pytest.raises(AssertionError, match="a weight was loaded"):
        sit_exams(str(world / "teacher"), on(world, "dolly"), limit=1, output=output)
    with pytest.raises(AssertionError, match="a weight was loaded"):
        sit_exams(str(world / "student"), on(world, "dolly"), limit=1, seeds=[10], output=output)


@pytest.mark.parametrize(
    ("asked", "settings", "said"),
    [
        ({"doly": None}, {}, "did you mean 'dolly'"),
        ({}, {}, "no exam was named"),
        ({"wizardlm": "{}/wizardlm.jsonl"}, {}, "wizardlm has no references; give --teacher"),
        ({"mbpp": None}, {}, "--allow-code-execution"),
        ({"dolly": "{}/doly.jsonl"}, {}, "did you mean dolly.jsonl"),
        ({"dolly": "{}/wizardlm.jsonl"}, {}, "no column output or response"),
        ({"dolly": "{}/dolly.jsonl"}, {"protocol": "strict"}, "unknown protocol"),
        ({"dolly": "{}/dolly.jsonl"}, {"shots": {"mmlu": 5}}, "--shots mmlu"),
        ({"dolly": "{}/dolly.jsonl"}, {"teacher": "{}/nowhere"}, "teacher: "),
        ({"dolly": "{}/dolly.jsonl"}, {"judge": "{}/nowhere"}, "judge: "),
        ({"glue:rte": "{}/nowhere.tsv"}, {}, "does not exist"),
        ({"glue:rte": "{}"}, {}, "train.tsv: no such file"),
    ],
)
def test_what_is_wrong_is_said_before_a_weight_is_loaded(world, no_weights, asked, settings, said):
    fill = lambda value: value.format(world) if isinstance(value, str) else value  # noqa: E731
    with pytest.raises(BadInput, match=said):
        sit_exams(
            str(world / "student"),
            {name: fill(source) for name, source in asked.items()},
            **{name: fill(value) for name, value in settings.items()},
        )


def test_a_model_that_is_too_short_is_refused_at_once(world, tmp_path, no_weights):
    config = json.loads((world / "student" / "config.json").read_text())
    short = tmp_path / "short"
    short.mkdir()
    for file in (world / "student").iterdir():
        (short / file.name).write_bytes(file.read_bytes())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 300}))
    with pytest.raises(BadInput, match="student has 300 positions, but protocol clean needs 512"):
        sit_exams(str(short), on(world, "dolly"))
    with pytest.raises(BadInput, match="teacher has 300 positions, but protocol clean needs 512"):
        sit_exams(str(world / "student"), on(world, "dolly"), teacher=str(short))
    with pytest.raises(BadInput, match="an exam of code needs 513"):
        sit_exams(str(short), {"mbpp": "nowhere.jsonl"}, allow_code_execution=True)


def test_tasks_and_files_of_the_harness_are_looked_at_before_a_weight_is_loaded(world, tmp_path, no_weights):
    pytest.importorskip("lm_eval")
    with pytest.raises(BadInput, match=r"expected one file train\.jsonl in this folder, found none"):
        sit_exams(str(world / "student"), {"gsm8k": str(tmp_path)})


def test_a_file_that_is_no_result_is_not_overwritten(world, tmp_path):
    output = tmp_path / "notes.json"
    output.write_text("[1, 2]")
    with pytest.raises(BadInput, match="is no result of exams"):
        sit_exams(str(world / "student"), on(world, "dolly"), output=output)
    assert output.read_text() == "[1, 2]"
