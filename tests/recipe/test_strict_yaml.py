import math

import pytest

from stillroom.core.errors import BadInput
from stillroom.recipe.strict_yaml import MAX_BYTES, dump, parse, read


def value(text):
    return parse(text, "r.yaml").values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("5.e-4", 5e-4),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("9" * 400, math.inf),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("yes", "yes"),
        ("2024-01-02", "2024-01-02"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("'1e-5'", "1e-5"),
        ('"true"', "true"),
        ("[1, two, 3.0]", [1, "two", 3.0]),
        ("{<<: 1}", {"<<": 1}),
        ("{no: 1, 2: b}", {"no": 1, "2": "b"}),
    ],
)
def test_scalars_follow_yaml_1_2(text, expected):
    got = value(text)
    assert got == expected
    assert type(got) is type(expected)


def test_nan_is_read_so_that_the_schema_can_refuse_it():
    assert math.isnan(value(".nan"))


def test_every_value_knows_its_line():
    document = parse("a: 1\nb:\n  - x\n  - {c: 2}\n", "r.yaml")
    assert document.origins[("a",)] == "r.yaml:1"
    assert document.origins[("b", 0)] == "r.yaml:3"
    assert document.origins[("b", 1, "c")] == "r.yaml:4"


def test_duplicate_keys_are_reported_with_both_places():
    document = parse("a:\n  lr: 1\n  wd: 2\n  lr: 3\nb: 1\nb: 2\n", "r.yaml")
    assert document.duplicates == [
        "r.yaml:4: a.lr: given twice, first at line 2; keep one of them.",
        "r.yaml:6: b: given twice, first at line 5; keep one of them.",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x 1\nb: *x\n", "r.yaml:1:4: anchors and aliases are not allowed, here: a: &x 1"),
        ("a: 1\nb: *x\n", "r.yaml:2:4: anchors and aliases"),
        ("a: !!python/name:os.system 1\n", "r.yaml:1:4: tags"),
        ("a: b: c\n", "r.yaml:1:5: mapping values are not allowed here, here: a: b: c"),
        ("a: [1, 2\nb: 3\n", "r.yaml:2:2: "),
        ("a: 1\n\tb: 2\n", "r.yaml:2:1: "),
        ("a: 1\n---\nb: 2\n", "r.yaml:2:1: "),
        ("a: 'open\n", "the end of the file"),
        ("[" * 50, "nested deeper than"),
        ("{[1]: 2}", "r.yaml:1: expected text as a key"),
        ("a: 1\nb: \x07\n", "r.yaml:2: the character '\\x07' is not allowed"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(text, words):
    with pytest.raises(BadInput) as caught:
        parse(text, "r.yaml")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "original",
    [
        {
            "a": [
                "yes",
                "no",
                "1e5",
                "1e-5",
                "010",
                "~",
                "",
                "null",
                "2024-01-02",
                "0x1F",
                "1_000",
                ".5",
                "<<",
            ]
        },
        {"a": [1e-5, 5e-4, 1e300, 0.1, -0.0, 10, True, None, 2**40], "b": {"c": {}, "d": []}},
        {"text": "line\nbreak: # not a comment 'quoted' \"twice\" é 漢 🙂 \t tab", "trail": " space "},
    ],
)
def test_dump_reads_back_as_the_same_values(original):
    again = value(dump(original))
    assert again == original
    assert repr(again) == repr(original)


def test_dump_uses_no_alias_for_a_repeated_object():
    shared = [1]
    assert value(dump({"a": shared, "b": shared})) == {"a": [1], "b": [1]}


def test_files_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "r.yaml"
    for content, words in [(b"a: \xff\n", "byte 3"), (b"#" * (MAX_BYTES + 1), "at most 1,000,000")]:
        path.write_bytes(content)
        with pytest.raises(BadInput, match=words):
            read(path)
    for absent in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(BadInput, match="cannot read the recipe"):
            read(absent)


def test_a_byte_order_mark_and_windows_lines_are_accepted(tmp_path):
    path = tmp_path / "Rezept für später.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert read(path).values == {"a": 1, "b": "x"}
