import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stillroom.core.errors import BadInput
from stillroom.data.sources import read_records

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", LINES),
        ("a.NDJSON", LINES),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("b.json", json.dumps({"data": ROWS, "version": 1})),
        ("c.json", "\ufeff" + LINES),
        ("mit Leerzeichen und Ümlaut 数据.jsonl", LINES),
    ],
)
def test_text_files(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    records = read_records(str(path))
    assert list(records) == ROWS
    assert records.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert records.places[1].endswith((":2", ", record 1"))


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.jsonl", LINES)
    assert len(read_records("~/a.jsonl")) == 2


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    assert list(read_records(path)) == ROWS
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        read_records(path)


def test_bad_records_are_refused_or_skipped_and_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", LINES + "[]\n" + LINES + '{"prompt": "cut')
    with pytest.raises(BadInput, match=r"a\.jsonl:3: expected one JSON object"):
        read_records(path)
    records = read_records(path, on_bad_record="skip")
    assert list(records) == ROWS + ROWS
    assert [place[-1] for place in records.places] == ["1", "2", "4", "5"]
    assert len(records.skipped) == 2
    assert "a.jsonl:6" in records.skipped[1]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", "\n \n", "holds no records"),
        ("a.json", "[]", "holds no records"),
        ("a.json", "  ", "holds no records"),
        ("a.json", '{"rows": []}', "keys 'rows'"),
        ("a.json", "3", "got a int"),
        ("a.json", '[{"a": 1},\n {"b" 2}]', r"a\.json:2: broken JSON at byte offset 17"),
        ("a.json", '[{"a": "1"}, 7]', "record 1: expected an object, got a int"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.csv", "a,b", "unknown kind '.csv'"),
    ],
)
def test_useless_files_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_records(write(tmp_path / name, text))


def test_only_bad_records_is_refused_with_the_number(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="2 unusable ones"):
        read_records(write(tmp_path / "a.jsonl", "[]\n[]\n"), on_bad_record="skip")


def test_one_huge_record_in_a_json_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps([{"prompt": "x" * 5000}, ROWS[0]]))
    with pytest.raises(BadInput, match="5,000 characters is over the bound of 4,000"):
        read_records(path, max_record_bytes=4000)
    assert list(read_records(path, on_bad_record="skip", max_record_bytes=4000)) == ROWS[:1]


def test_absent_file_names_the_closest(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", LINES)
    with pytest.raises(BadInput, match=r"does not exist; did you mean train\.jsonl\?"):
        read_records(tmp_path / "trian.jsonl")
    with pytest.raises(BadInput, match=r"is a folder; give one file of it \(train\.jsonl\)"):
        read_records(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        read_records("no/such/folder/here")


def test_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None, split: str) -> SimpleNamespace:
        asked.append((name, config, split))
        return SimpleNamespace(to_list=lambda: ROWS)

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    records = read_records("owner/name:config", split="test")
    assert asked == [("owner/name", "config", "test")]
    assert list(records) == ROWS
    assert records.places[1] == "owner/name:config (test), record 1"
    assert records.sha256 == read_records("owner/name:config", split="test").sha256


def test_absent_hub_data_set_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str | None, split: str) -> None:
        raise ConnectionError("Couldn't reach the Hub\nand a long trace")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(BadInput, match=r"owner/name is no file here.*Couldn't reach the Hub\)") as caught:
        read_records("owner/name")
    assert "\n" not in str(caught.value)
