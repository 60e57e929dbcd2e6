import json
import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import stillroom.report
from stillroom.core.errors import BadInput
from stillroom.core.record import (
    METRICS,
    RECIPE,
    REPORT,
    SAMPLES,
    SUMMARY,
    RunSummary,
    write_jsonl,
    write_summary,
)
from stillroom.report.page import write_report

ATTRIBUTE_NAMES = (
    "charset http-equiv content name class scope title role aria-label aria-hidden tabindex style lang "
    "viewbox x y x1 x2 y1 y2 cx cy r d points"
)
TAG_NAMES = (
    "html head meta title style body main header section h1 h2 h3 h4 p strong b small span sup div ul li "
    "table caption thead tbody tr th td figure figcaption svg desc line path circle polygon text article "
    "details summary pre g"
)
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><a href="javascript:alert(1)">',
    "</style><style>body{background:url(http://evil.example)}",
    "</title></textarea><iframe srcdoc='x'>",
    "http://evil.example/ &lt;b&gt; \u202etxt.exe\x00\x1b[31m \ud83d",
]


class Checked(HTMLParser):
    """Notes every tag and attribute, and that all tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: list[str] = []
        self.words = ""
        self.sheet = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles += [value for name, value in attrs if name == "style"]
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            self.sheet += data
        self.words += data


def checked(path):
    text = path.read_text(encoding="utf-8")
    page = Checked()
    page.feed(text)
    page.close()
    assert page.stack == []
    assert page.tags <= set(TAG_NAMES.split())
    assert page.attributes <= set(ATTRIBUTE_NAMES.split())
    assert all(style.startswith("width:") for style in page.styles)
    assert page.sheet == (Path(stillroom.report.__file__).parent / "style.css").read_text(encoding="utf-8")
    assert "url(" not in page.sheet
    assert "@import" not in page.sheet
    assert not set(text) & set("\x00\x1b\u202e\u2066\ud83d")
    return page


def test_a_page_in_one_file_that_asks_for_nothing(make_run, tmp_path):
    path = write_report(
        [make_run(lines=40), make_run("hard labels", loss=2.943, lines=40)], tmp_path / "out" / REPORT
    )
    page, text = checked(path), path.read_text(encoding="utf-8")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text.replace("&#x27;", "'")
    assert "://" not in text
    assert "opt-1.3b → opt-125m" in page.words
    assert "closes 62" in page.words
    assert len(text) < 200_000
    assert text.count("<table") == text.count("<caption") + text.count('class="facts"') - 1


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_shown_not_obeyed(make_run, tmp_path, hostile):
    hostile_dict = {hostile: hostile, "source": hostile, "cut": 3}
    folder = (
        make_run(
            hostile,
            models={"student": dict(hostile_dict), "teacher": dict(hostile_dict)},
            data={"train": dict(hostile_dict), hostile: dict(hostile_dict)},
            objectives=[
                {
                    "use": hostile,
                    "weight": hostile,
                    "terms": [hostile],
                    "settings": hostile_dict,
                    "additive": False,
                }
            ],
            versions=hostile_dict,
            environment={"device": hostile, "command": [hostile]},
            notes=[hostile],
            exit=hostile,
            lines=3,
        )
        if "\ud83d" not in hostile
        else make_run(lines=3)
    )
    rows = [{"split": "train", "step": 1, "tokens": 5, f"loss/{hostile}/{hostile}": 2.0}]
    (folder / METRICS).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    samples = [dict.fromkeys(("prompt", "reference", "teacher", "baseline", "student"), hostile)]
    (folder / SAMPLES).write_text("\n".join(map(json.dumps, samples)), encoding="utf-8")
    (folder / RECIPE).write_text(hostile.encode("utf-8", "replace").decode(), encoding="utf-8")
    page = checked(write_report([folder], tmp_path / "r.html", title=hostile))
    assert (
        hostile.replace("\u202e", "").replace("\x00", "").replace("\x1b", "").replace("\ud83d", "\ufffd")
        in page.words
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"exit": "stopped", "final": {}, "baseline": {}, "teacher": {}},
        {"exit": "failed", "final": {"loss": math.nan}, "models": {}},
        {"final": {"loss": math.inf, "perplexity": 1e308, "agreement": -1.0, "rouge_l": None}},
        {
            "teacher": {},
            "models": {},
            "data": {},
            "environment": {},
            "objectives": [],
            "notes": [],
            "versions": {},
        },
        {"tokens": 0, "seconds": -1.0, "tokens_per_second": math.nan, "peak_memory_bytes": 0, "name": ""},
        {"final": {"loss": 10**400}, "baseline": {"loss": -5.0}, "teacher": {"loss": -6.0}},
        {"final": {"loss": 800.0}, "baseline": {"loss": 3.0}},
    ],
)
@pytest.mark.parametrize("files", ["all", "none", "empty"])
def test_whatever_is_missing_there_is_a_page(make_run, tmp_path, changed, files):
    folder = make_run(lines=4, **changed)
    for name in (METRICS, SAMPLES, RECIPE):
        if files == "none":
            (folder / name).unlink()
        elif files == "empty":
            (folder / name).write_text("")
    for order in ([folder], [make_run("other", lines=4), folder], [folder, make_run("third", lines=4)]):
        assert "Results" in checked(write_report(order, tmp_path / "r.html")).words


@pytest.mark.parametrize(
    ("loss", "width", "share"),
    [(2.965, "50.0", "50\u00a0%"), (4.39, "0.0", "\u2212100\u00a0%"), (2.0, "100.0", "152\u00a0%")],
)
def test_the_bar_stays_in_its_track_and_the_number_tells_the_truth(make_run, tmp_path, loss, width, share):
    page = checked(write_report([make_run(loss=loss, lines=2)], tmp_path / "r.html"))
    assert page.styles == [f"width:{width}%"]
    assert share in page.words


def test_bars_say_so_where_runs_had_different_teachers(make_run, tmp_path):
    alike, unlike = make_run("b", lines=2), make_run("c", lines=2, teacher={"loss": 2.0})
    sentence = "The ends are the first teacher"
    assert sentence not in checked(write_report([make_run(lines=2), alike], tmp_path / "r.html")).words
    assert sentence in checked(write_report([make_run(lines=2), unlike], tmp_path / "r.html")).words


def test_the_smallest_run_folder(tmp_path):
    write_summary(tmp_path / "run", RunSummary(name="new"))
    page = checked(write_report([tmp_path / "run"], tmp_path / "r.html"))
    assert "The run has not ended" in page.words
    assert "metrics.jsonl is absent" in page.words


def test_same_runs_same_bytes(make_run, tmp_path):
    runs = [make_run(lines=20), make_run("b", lines=20)]
    one, two = write_report(runs, tmp_path / "1.html"), write_report(runs, tmp_path / "2.html")
    assert one.read_bytes() == two.read_bytes()


def test_huge_runs_give_a_small_page(make_run, tmp_path):
    folder = make_run(lines=4000, notes=["n" * 10**6] * 3)
    write_jsonl(folder / SAMPLES, [{"prompt": "p" * 10**5, "student": "🧪" * 10**5} for _ in range(30)])
    assert write_report([folder], tmp_path / "r.html").stat().st_size < 700_000


def test_refusals(make_run, tmp_path):
    with pytest.raises(BadInput, match="is a folder"):
        write_report([make_run(lines=1)], tmp_path)
    with pytest.raises(BadInput, match=SUMMARY):
        write_report([tmp_path / "nothing"], tmp_path / "r.html")


def test_needs_neither_torch_nor_models(make_run, tmp_path):
    program = (
        "import sys; from pathlib import Path; from stillroom.report.page import write_report;"
        "write_report([Path(sys.argv[1])], Path(sys.argv[2]));"
        "heavy = {'torch', 'transformers', 'datasets', 'matplotlib', 'numpy', 'rich'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(make_run(lines=2)), str(tmp_path / "r.html")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_terms_are_shown_with_their_weights(make_run, tmp_path):
    entry = {
        "use": "span.mta",
        "weight": 1.0,
        "terms": {"words": "sequences", "hidden_words": "sequences", "other": "tokens"},
        "term_weights": {"words": 2 / 3, "hidden_words": 1.0, "other": "\U0001f642"},
        "settings": {},
        "additive": True,
    }
    page = write_report([make_run("run", objectives=[entry])], tmp_path / "report.html")
    text = page.read_text()
    assert "words \u00d7 0.667 (sequences), hidden_words sequences, other tokens" in text
