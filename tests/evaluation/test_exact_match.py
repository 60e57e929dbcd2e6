import pytest

from stillroom.evaluation.exact_match import exact_match, normalize


def test_case_punctuation_and_spaces_do_not_count_articles_do():
    assert normalize("  The cat's\tHOUSE. ") == "the cats house"
    assert exact_match(["the house"], [["house"]]) == 0
    assert exact_match(["Yes.", "no", ""], [["maybe", "yes"], ["nope"], ["?"]]) == pytest.approx(200 / 3)


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        exact_match(["a", "b"], [["a"]])
