from stillroom.data.overlap import overlap


def test_shared_questions_are_counted_whatever_their_spacing_and_answer(sample) -> None:
    train = [sample("What is  a still?", "A vessel.", 0), sample(("Sum up", "text"), "Short.", 1)]
    evaluation = [
        sample("what is a\nstill?", "Another answer", 0),
        sample(("Sum up", "other text"), "Short.", 1),
        sample("New?", "Yes", 2),
    ]
    found = overlap(train, evaluation)
    assert (found.count, found.total) == (1, 3)
    assert found.examples == (("data.jsonl:1", "data.jsonl:1", "what is a\nstill?"),)
    assert str(found).startswith("1 of 3 evaluation questions are also trained on (data.jsonl:1 = ")
    assert str(overlap(train, evaluation[1:])) == "0 of 2 evaluation questions are also trained on"


def test_plain_text_asks_nothing(sample) -> None:
    assert overlap([sample("", "One text.", 0)], [sample(" ", "Another.", 0)]).count == 0
