import json
import math
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from compared import comparison, noisy

import stillroom.report
from stillroom.report.comparison_page import comparison_page

TAGS = (
    "html head meta title style body main header section h1 h2 h3 h4 p strong b small span div ul li table caption "
    "thead tbody tr th td figure figcaption svg desc line path circle polygon text g article details summary pre "
    "input label"
)
ATTRIBUTES = (
    "charset http-equiv content name class scope title role aria-label aria-hidden aria-sort tabindex lang viewbox x y "
    "x1 x2 y1 y2 cx cy r d points height type id for checked"
)
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><a href="javascript:alert(1)">',
    "</style><style>body{background:url(http://evil.example)}",
    "'; --></title><iframe srcdoc='x'> &lt;b&gt; \u202etxt.exe\x00\x1b[31m",
]


class Checked(HTMLParser):
    """Notes tags, attributes, ids and words, and that all tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.labeled: list[str] = []
        self.words = self.sheet = ""
        self.feed(text)
        self.close()
        assert self.stack == []
        assert self.tags <= set(TAGS.split())
        assert self.attributes <= set(ATTRIBUTES.split())
        assert len(self.ids) == len(set(self.ids))
        assert self.ids == self.labeled
        assert self.sheet == (Path(stillroom.report.__file__).parent / "style.css").read_text(
            encoding="utf-8"
        )

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        found = dict(attrs)
        self.attributes |= found.keys()
        self.ids += [found["id"]] if "id" in found else []
        self.labeled += [found["for"]] if "for" in found else []
        if tag not in ("meta", "input"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" in self.stack:
            self.sheet += data
        else:
            self.words += data


def full(name="forward KL", **more):
    """A comparison that has everything; `name` is one of its variants."""
    content = comparison(noisy({"hard labels": 0.3, name: 0.0, "reverse KL": 0.002}), "hard labels")
    for variant in content["variants"].values():
        variant["measures"] = {name: 0.5}
        variant["to_target"] = [{"seed": 10, "loss": 5.0, "steps": 12.5, "tokens": 3, "seconds": None}]
        for each in variant["runs"]:
            each |= {"agreement": 0.4 - each["loss"] / 100, "teacher_kl": each["loss"] - 4}
            each["tests"] = {"dolly": {"rouge_l": 30 - each["loss"]}, name: {"accuracy": 0.5, name: 1.0}}
    extra = {
        "about": name,
        "command": name,
        "processor": name,
        "versions": {"torch": name},
        "hashes": {"teacher": name},
        "environment": {"device": name},
        "data": {"train": {"source": name}},
        "plan": {"base": {name: name}, "seeds": [1]},
        "cautions": [f"NOT COMPLETE: {name}"],
        "failed": {name: name},
        "trials": {name: {"0.001": 5.0, "0.002": 5.1}},
        "tests": {
            "protocol": {"name": name},
            "marks": {"teacher": {"dolly": {"rouge_l": 27.0}}},
            "notes": [name],
        },
        "answers": [
            {"exam": name, "prompt": name, "reference": name, "texts": {"teacher": name, name: name}},
            {"exam": None, "prompt": "again", "reference": None, "texts": {}},
        ],
        "published": {name: {name: name, "dolly Rouge-L": 25.0}},
        "reproduction": {
            "source": name,
            "cannot_compare": [name],
            "pairs": [
                {"column": name, "variant": name, "ours_is": name, "mean": 24.6, "same_direction": name},
            ],
        },
    }
    return content | extra | more


def test_the_whole_page():
    text = comparison_page(full())
    page = Checked(text)
    assert "://" not in text
    assert "default-src &#x27;none&#x27;" in text
    for words in (
        "So far, with runs missing: on this pair, forward KL has the highest Rouge-L on dolly",
        "Before you believe it",
        "FAILED: forward KL: forward KL",
        "Order by",
        "paired differences to hard labels",
        "the reference of all pairs",
        "What time buys",
        "Held-out loss over trained tokens",
        "Prompt 1 of forward KL",
        "What objectives measured",
        "ours 24.6",
        "never one number with the other",
        "How to repeat it",
        "test.protocol.name",
    ):
        assert words in page.words, words
    assert comparison_page(full()) == text


def test_orders_are_panels_of_radio_buttons_and_one_of_each_is_checked():
    text = comparison_page(full())
    assert text.count('checked="checked"') == text.count('class="order-by"')
    names = [name for name in ("order-0", "order-1", "order-2") if f'name="{name}"' in text]
    assert names
    assert text.count('class="panel"') == text.count("<input")


def test_rows_stand_from_best_to_worst_and_equals_are_marked_alike():
    content = comparison(noisy({"hard labels": 0.3, "X": 0.0, "Y": 0.002, "Z": 0.2}), "hard labels")
    page = comparison_page(content)
    table = page[page.index('class="results compared"') :]
    table = table[: table.index("</table>")]
    order = [
        table.index(f"</span>{name}") for name in ("teacher", "student before", "X", "Y", "Z", "hard labels")
    ]
    assert order == sorted(order)
    rows = {name: next(r for r in table.split("<tr") if f"</span>{name}" in r) for name in ("X", "Y", "Z")}
    assert 'class="best" title="best mean"' in rows["X"]
    assert 'class="best" title="cannot be told apart from the best"' in rows["Y"]
    assert "<strong>" not in rows["Z"]
    assert "· 5/5" in rows["Z"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_shown_not_obeyed(hostile):
    text = comparison_page(full(hostile))
    page = Checked(text)
    assert not set(text) & set("\x00\x1b\u202e")
    assert hostile.replace("\u202e", "").replace("\x00", "").replace("\x1b", "") in page.words


@pytest.mark.parametrize("key", full().keys())
@pytest.mark.parametrize("replaced", ["missing", "empty"])
def test_any_key_may_be_missing_or_empty(key, replaced):
    content = full()
    value = content.pop(key)
    if replaced == "empty":
        content[key] = type(value)()
    Checked(comparison_page(content))


def test_nothing_at_all():
    page = Checked(comparison_page({}))
    assert "nothing to compare" in page.words


def test_a_variant_without_runs_and_a_run_without_a_finite_loss():
    content = comparison(noisy({"a": 0.1, "b": 0.0}) | {"never": []}, "a")
    content["variants"]["b"]["runs"][0]["loss"] = math.nan
    content["variants"]["empty"] = {}
    page = Checked(comparison_page(content))
    assert "4 of 5 seeds" in page.words
    assert "0 of 5 seeds" in page.words
    assert "nan" not in page.words.lower()


def test_reading_a_comparison_needs_no_torch():
    code = "import sys, stillroom.report.comparison_page as p; p.comparison_page({}); assert 'torch' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )


def test_results_of_today():
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("sharp_*.json"))]
    compared = [content for content in found if "variants" in content and "marks" in content]
    assert compared
    for content in compared:
        assert "On this pair" in Checked(comparison_page(content)).words
