import pytest

from stillroom.core.errors import BadInput
from stillroom.core.inspection import (
    Course,
    GradientPair,
    Gradients,
    Inspection,
    Interference,
    Landscape,
    Place,
    Scatter,
    read_inspection,
    write_inspection,
)


def test_what_is_written_is_read_again(tmp_path):
    start = Place("start", 0, 0.0)
    pair = GradientPair("a", "b", 3, cosine=0.25, cosine_sd=None)
    found = Inspection(
        steps=7,
        interference=Interference(
            ["a", "b"], 3, 8, 0, [Gradients(start, {"a": 1.0, "b": 0.0}, {"all": [pair]})]
        ),
        landscape=Landscape(start, 5, 0, [Course("direction 1", [-1.0, 0.0, 1.0], [2.0, None, 2.0])]),
        measures={"attention.sharp/control": 0.5},
    )
    path = tmp_path / "deep" / "inspection.json"
    write_inspection(path, found)
    assert read_inspection(path) == found


def test_points_come_back_as_pairs(tmp_path):
    from stillroom.core.inspection import Features

    drawn = Scatter("before projection", "PCA", {"student/token": [(1.0, 2.0)]})
    features = Features("attention.sharp", Place("end", 1), 1, ["token"], [], [drawn])
    write_inspection(tmp_path / "i.json", Inspection(steps=0, features=[features]))
    read = read_inspection(tmp_path / "i.json")
    assert read is not None
    assert read.features == [features]


def test_an_absent_file_is_no_inspection(tmp_path):
    assert read_inspection(tmp_path / "inspection.json") is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"steps": "many"}', '{"steps": 1, "landscape": {"place": 3}}']
)
def test_a_damaged_file_is_one_sentence(tmp_path, text):
    path = tmp_path / "inspection.json"
    path.write_text(text)
    with pytest.raises(
        BadInput, match=r"inspection\.json cannot be read .*run `stillroom inspect` again"
    ) as refused:
        read_inspection(path)
    assert "\n" not in str(refused.value)
