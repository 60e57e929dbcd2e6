"""Steps with objectives over spans: text that is cut in the step is the text of the batch, and every contender runs."""

import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from folders import jsonl, model_folder, space_tokenizer

pytest.importorskip("textblob")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from recipe_step import longest
from span_step import BASES, CONTENDERS, SPACY, CutInStep, chosen, contender, parse, sizes

ANSWERS = [
    "The old house by the river is where things are slowly distilled. " * 8,  # longer than a row
    "A caf\u00e9 and cafe\u0301s, don't you see?",
    "Die alten H\u00e4user stehen schon lange leer und niemand wei\u00df warum.",
    "Yes",
]
FEW_LAYERS = [name for name in CONTENDERS if "FDD" not in name and name != SPACY]
"""What tiny models of two layers can do."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    text = jsonl(folder / "text.jsonl", [{"instruction": "Say.", "output": each} for each in ANSWERS])
    model_folder(folder / "student", seed=0)
    model_folder(folder / "teacher", seed=1, width=32)
    model_folder(folder / "second", seed=2, width=32, tokenizer=space_tokenizer(ANSWERS))
    folders = ["--student", "student", "--teacher", "teacher", "--second-teacher", "second"]
    paths = [word if word.startswith("--") else str(folder / word) for word in folders]
    options = parse([*paths, "--text", str(text), "--batch", "3", "--output", str(folder)])
    (folder / "rows").mkdir()
    return longest(options, folder / "rows")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path))


def test_what_is_cut_in_the_step_is_what_lies_in_the_batch(work):
    trial = contender("MTA, cut in the step by TextBlob", work)
    assert isinstance(trial, CutInStep)
    known = {name: trial.inputs[name].clone() for name in ("words", "phrases")}
    found = trial.cut()
    for name, units in known.items():
        assert torch.equal(found[name], units)
        assert (units.max(dim=1).values > 0).all()
    assert trial.inputs["response_mask"][0].sum() < len(ANSWERS[0].split()) * 4  # the first one was cut


def test_the_longest_rows_are_taken(work):
    assert work.text.read_text().count("\n") == 3
    assert '"Yes"' not in work.text.read_text()


def test_what_is_asked_for_comes_with_its_base_and_not_without_a_model():
    def names(**options):
        return chosen(Namespace(**{"pipeline": None, "second_teacher": None, **options}))

    assert names(contenders=["MTA", SPACY, "SRA"]) == ["skew reverse KL", "MTA"]
    both = names(contenders=["SRA", SPACY], pipeline="en_core_web_sm", second_teacher=Path("second"))
    assert both == ["skew reverse KL", SPACY, "hard labels and the teacher's answer", "SRA"]


@pytest.mark.parametrize("name", FEW_LAYERS)
def test_every_contender_takes_a_step_from_a_finite_loss(name, work):
    trial = contender(name, work)
    assert trial.loss().isfinite()
    trial.step()
    assert set(sizes({name: trial})) == {BASES[CONTENDERS[name].base][0]}
    assert trial.held_bytes() > 0
