"""The probes are many, different, and cover what tokenizers disagree about."""

import unicodedata

from stillroom.alignment.probes import PROBES


def test_about_two_hundred_and_none_twice() -> None:
    assert 190 <= len(PROBES) <= 260
    assert len(set(PROBES)) == len(PROBES)


def test_every_normal_form_changes_some_probe() -> None:
    for form in ("NFC", "NFD", "NFKC"):
        assert any(unicodedata.normalize(form, probe) != probe for probe in PROBES)
    assert any(unicodedata.normalize("NFC", p) == p != unicodedata.normalize("NFKC", p) for p in PROBES)


def test_many_scripts_and_kinds() -> None:
    text = "".join(PROBES)
    scripts = {unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha()}
    assert {
        "LATIN",
        "CYRILLIC",
        "GREEK",
        "ARABIC",
        "HEBREW",
        "DEVANAGARI",
        "THAI",
        "HANGUL",
        "CJK",
    } <= scripts
    assert len(scripts) >= 20
    assert set("0123456789\t\n ") <= set(text)
    assert {"<s>", "<|endoftext|>", "[INST] hello [/INST]"} <= set(PROBES)
