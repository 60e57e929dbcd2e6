from stillroom.core.record import SAMPLES, write_jsonl
from stillroom.report.answers import answers_section, matched
from stillroom.report.read import read_runs


def test_matched_by_prompt_not_by_place(make_run):
    first, second = make_run("a"), make_run("b")
    write_jsonl(
        first / SAMPLES,
        [{"prompt": "p", "student": "1"}, {"prompt": "q", "student": "2"}, {"prompt": "p", "student": "3"}],
    )
    write_jsonl(
        second / SAMPLES, [{"prompt": "q", "student": "4", "teacher": "t"}, {"prompt": "p", "student": "5"}]
    )
    rows = matched(read_runs([first, second]))
    assert [prompt for prompt, _ in rows] == ["p", "q", "p"]
    assert [[answer.text for answer in answers] for _, answers in rows] == [
        [None, "5", "1"],
        ["t", "4", "2"],
        [None, None, "3"],
    ]
    assert [answer.label for answer in rows[0][1]] == ["Teacher", "b", "a"]


def test_missing_and_empty_answers(make_run):
    folder = make_run()
    write_jsonl(
        folder / SAMPLES,
        [{"prompt": "p", "student": ""}, {"no": "prompt"}, {"prompt": 3, "reference": ["x", "y"]}],
    )
    html = answers_section(read_runs([folder]))
    assert "(empty)" in html
    assert "— not answered" in html
    assert "x\n\ny" in html


def test_many_and_long(make_run):
    folder = make_run()
    write_jsonl(folder / SAMPLES, [{"prompt": f"p{i}", "student": "word " * 100_000} for i in range(60)])
    html = answers_section(read_runs([folder]))
    assert len(html) < 200_000
    assert "34 more prompts" in html
    assert "20 further prompts" in html
    assert "more characters)" in html


def test_none(make_run):
    folder = make_run()
    (folder / SAMPLES).unlink()
    assert "no run has answered" in answers_section(read_runs([folder]))
