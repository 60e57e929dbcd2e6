from stillroom.report.cautions import cautions, notes
from stillroom.report.read import read_runs


def test_unlike_runs_are_said_to_be_unlike(make_run):
    changed = {"tokens": 1_000_000, "data": {"eval": {"sha256": "ff"}}, "environment": {"device": "cuda"}}
    text = " ".join(cautions(read_runs([make_run(), make_run("b", **changed)])))
    assert "evaluated on different data" in text
    assert "1,000,000 to 2,096,640 tokens" in text
    assert "different devices" in text
    assert "different students" not in text


def test_like_runs_with_several_seeds_need_no_caution(make_run):
    assert cautions(read_runs([make_run(seed=1), make_run(seed=2)])) == []


def test_notes_gather_data_and_objectives(make_run):
    objectives = [{"use": "hidden.cka", "additive": False}]
    (run,) = read_runs([make_run(objectives=objectives)])
    found = notes(run)
    assert any("hidden.cka depends on batch statistics" in note for note in found)
    assert "Data for train: cut responses 37." in found
    assert any("Trimming" in note for note in found)
