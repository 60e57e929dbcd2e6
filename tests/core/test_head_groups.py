"""The file of head groups: what is written is read, and what does not fit is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.core.head_groups import HeadGroups, read_head_groups, write_head_groups

GROUPS = HeadGroups(
    teacher="a/teacher",
    weights=None,
    data="text",
    teacher_heads=3,
    student_heads=2,
    rows="real",
    samples=8,
    groups={1: [[0, 2], [1]], 2: [[0], [1, 2]]},
    similarities={1: [[1.0, 0.1, 0.9], [0.1, 1.0, 0.2], [0.9, 0.2, 1.0]], 2: [[1.0] * 3] * 3},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_head_groups(tmp_path / "groups.json", GROUPS)
    found = read_head_groups(tmp_path / "groups.json")
    assert found == GROUPS
    assert found.for_layers([2, 1, 2], 3, 2) == [GROUPS.groups[2], GROUPS.groups[1], GROUPS.groups[2]]


def test_another_pair_of_models_is_refused() -> None:
    with pytest.raises(
        BadInput, match="5 teacher heads for 2 student heads, the file was written for 3 and 2"
    ):
        GROUPS.for_layers([1], 5, 2)
    with pytest.raises(BadInput, match=r"groups for teacher layer 4, the file has layers \[1, 2\]"):
        GROUPS.for_layers([1, 4], 3, 2)


def test_no_file_and_no_groups(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no file .*groups\.json .*stillroom match-heads"):
        read_head_groups(tmp_path / "groups.json")
    (tmp_path / "groups.json").write_text("{}")
    with pytest.raises(BadInput, match=r"cannot be read as groups of heads \(teacher: "):
        read_head_groups(tmp_path / "groups.json")
    (tmp_path / "groups.json").write_bytes(b"\xff")
    with pytest.raises(BadInput, match=r"cannot be read as groups of heads \(the whole: "):
        read_head_groups(tmp_path / "groups.json")


@pytest.mark.parametrize(
    ("groups", "sentence"),
    [
        ([[0, 1], [1]], r"layer 1 to hold each of 3 heads once, got \[\[0, 1\], \[1\]\]"),
        ([[0, 1, 2]], r"2 groups in layer 1, one a student head, got 1"),
    ],
)
def test_groups_changed_by_hand(tmp_path: Path, groups: list[list[int]], sentence: str) -> None:
    write_head_groups(tmp_path / "g.json", replace(GROUPS, groups={1: groups}))
    with pytest.raises(BadInput, match=sentence):
        read_head_groups(tmp_path / "g.json")


def test_another_format(tmp_path: Path) -> None:
    write_head_groups(tmp_path / "g.json", GROUPS)
    content = json.loads((tmp_path / "g.json").read_text())
    (tmp_path / "g.json").write_text(json.dumps(content | {"format": 2}))
    with pytest.raises(BadInput, match="format 2, expected 1"):
        read_head_groups(tmp_path / "g.json")
