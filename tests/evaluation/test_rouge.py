import random

import pytest
from reference import rouge as reference

from stillroom.core.errors import BadInput
from stillroom.evaluation.rouge import rouge_l

WORDS = [
    "red",
    "blue",
    "dog",
    "cat",
    "sun",
    "tree",
    "on",
    "the",
    "42",
    "ox",
]  # the stemmer leaves them as they are


def sentence(generator: random.Random) -> str:
    words = generator.choices(WORDS, k=generator.randint(1, 12))
    return ", ".join(words).capitalize() + "."


def test_equals_the_protocol_in_plain_loops():
    generator = random.Random(3)
    predictions = [sentence(generator) for _ in range(30)] + ["", "?!"]
    references = [[sentence(generator) for _ in range(generator.randint(1, 3))] for _ in predictions]
    assert rouge_l(predictions, references) == pytest.approx(
        reference.rouge_l(predictions, references), abs=1e-9
    )


def test_order_matters_the_best_reference_counts_and_words_are_stemmed():
    assert rouge_l(["red dog"], [["dog red"]]) == pytest.approx(50)
    assert rouge_l(["red dog"], [["the sun", "red dog", "cat"]]) == pytest.approx(100)
    assert rouge_l(["a cat ran"], [["the cats are running"]]) == pytest.approx(200 / 7)


def test_text_in_other_scripts_scores_nothing():
    assert rouge_l(["你好世界"], [["你好世界"]]) == 0


def test_bad_input_is_named():
    with pytest.raises(BadInput, match="2 predictions and 1 lists"):
        rouge_l(["a", "b"], [["a"]])
    with pytest.raises(BadInput, match="0 predictions"):
        rouge_l([], [])
    with pytest.raises(BadInput, match="prompt 1"):
        rouge_l(["a", "b"], [["a"], []])
    with pytest.raises(BadInput, match="list of at least one reference"):
        rouge_l(["a"], ["a"])
