"""Words and phrases of a recipe: cut for objectives that compare them, by whom it says, seen in the run's record."""

import pytest
from folders import jsonl, model_folder, space_tokenizer, tiny_tokenizer

from stillroom.core.errors import BadInput
from stillroom.core.record import read_jsonl
from stillroom.recipe.cache import write_cache
from stillroom.recipe.load import load_recipe
from stillroom.recipe.prepare import prepare
from stillroom.recipe.run import run_recipe

ANSWERS = [
    "The old house stands on the hill, and the still is in it.",
    "The old house is a very small house on a hill.",
    "Yes.",
    "!",
    "Das alte Haus steht auf dem H\u00fcgel und niemand wohnt darin.",
    "\u65e7\u3044\u5bb6\u306f\u4e18\u306e\u4e0a\u306b\u3042\u308b\u3002",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("spans")
    model_folder(root / "student", seed=1, tokenizer=tiny_tokenizer(ANSWERS))
    model_folder(root / "teacher", seed=2, width=32, tokenizer=tiny_tokenizer(ANSWERS))
    model_folder(root / "second", seed=2, width=32, tokenizer=space_tokenizer(ANSWERS))
    jsonl(root / "data.jsonl", [{"instruction": "What?", "output": text} for text in ANSWERS])
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))


def recipe(
    world, output, teacher="teacher", objectives=("logits.forward_kl", "span.mta"), answers=None, **data
):
    return load_recipe(
        values={
            "student": {"model": str(world / "student")},
            "teacher": {"model": str(world / teacher), "preflight": "off"} | (answers or {}),
            "data": {"train": str(world / "data.jsonl"), "template": "plain", "max_length": 96} | data,
            "objectives": list(objectives),
            "training": {
                "max_steps": 3,
                "logging_steps": 1,
                "per_device_train_batch_size": 2,
                "use_cpu": True,
                "save_strategy": "no",
            },
            "evaluation": {"prompts": 0},
            "output": str(output),
        }
    )


@pytest.mark.parametrize("teacher", ["teacher", "second"])
def test_a_run_shows_its_terms_and_who_cut_the_text(world, tmp_path, teacher):
    base = "logits.forward_kl" if teacher == "teacher" else "hard.cross_entropy"
    words = {"use": "span.sra", "spans": "words"}
    asked = recipe(world, tmp_path / "run", teacher, (base, "span.mta", "span.sra", words), spans="windows")
    summary = run_recipe(asked)
    assert summary.exit == "done"
    assert summary.data["train"]["segmenter"] == "windows 1"
    assert summary.data["train"]["words"] > 30
    assert any(note.startswith("Spans: ") and "cut by windows 1" in note for note in summary.notes)
    assert any("1 samples have no whole word" in note for note in summary.notes)
    seen = {name for row in read_jsonl(tmp_path / "run" / "metrics.jsonl") for name in row}
    terms = {"words", "phrases", "hidden_words", "hidden_phrases"}
    assert {f"loss/span.mta/{term}" for term in terms} <= seen
    assert {f"loss/span.sra/{term}" for term in ("cosine", "geometry", "logits")} <= seen
    assert {"loss/span.sra#2/cosine", "grad_norm/span.mta"} <= seen
    listed = {each["name"]: each for each in summary.objectives}
    assert listed["span.mta"]["settings"]["structure_weight"] == 2.0


def test_texts_in_other_languages_fall_back_and_the_run_says_so(world, tmp_path):
    pytest.importorskip("textblob")
    prepared = prepare(recipe(world, tmp_path / "run"))
    assert prepared.data["train"]["unknown_language"] == 2
    assert any("2 texts are in a language that textblob" in note for note in prepared.notes)
    german = prepared.train[4]
    assert int(german["phrases"].max()) >= 3
    again = prepare(recipe(world, tmp_path / "run", max_length=24))  # from the cache, and cut
    assert again.data["train"]["words"] < prepared.data["train"]["words"]


def test_nobody_cuts_text_for_objectives_that_do_not_ask(world, tmp_path):
    prepared = prepare(recipe(world, tmp_path / "run", objectives=["logits.forward_kl"], spans="windows"))
    assert "words" not in prepared.train[0]
    assert "segmenter" not in prepared.data["train"]
    assert any("data.spans has no effect" in note for note in prepared.notes)
    assert not (tmp_path / "cache").exists()


def test_records_bring_their_own_spans(world, tmp_path):
    rows = [{"instruction": "What?", "output": text, "cuts": {"phrases": [[0, 1]]}} for text in ANSWERS]
    rows[0]["cuts"] = {"words": [[0, 3], [4, 7]], "phrases": [[0, 7, "NP"]]}
    jsonl(tmp_path / "given.jsonl", rows)
    spans = {"use": "given", "field": "cuts"}
    source = {"train": str(tmp_path / "given.jsonl")}
    prepared = prepare(recipe(world, tmp_path / "run", **source, spans=spans | {"offsets": "letters"}))
    ids = prepared.train[0]["input_ids"][prepared.train[0]["phrases"] == 0]
    assert prepared.tokenizer.decode(ids) == "The old"
    assert prepared.data["train"]["words"] == 2
    with pytest.raises(BadInput, match=r"given.jsonl:6: phrases of the spans .*letters"):
        prepare(recipe(world, tmp_path / "run", **source, spans=spans))  # one byte of a letter of three


def test_spans_are_known_to_a_written_recipe_only_where_it_has_some(world, tmp_path):
    assert "  spans:" not in recipe(world, tmp_path).to_yaml()
    asked = recipe(world, tmp_path, spans="windows")
    assert asked.data.spans is not None
    written = tmp_path / "recipe.yaml"
    written.write_text(asked.to_yaml())
    assert load_recipe(written).data.spans == asked.data.spans


@pytest.mark.parametrize("teacher", ["teacher", "second"])
def test_a_stored_teacher_answers_as_the_live_one(world, tmp_path, teacher):
    """States of layers, of the last one behind the norm, and the attention of the last token."""
    names = ("hard.cross_entropy", "span.mta", "span.sra")
    ours = {"dtype": "float32", "cache": str(tmp_path / "store")}
    runs = {}
    write_cache(recipe(world, tmp_path / "x", teacher, names, ours, spans="windows"), precision="float32")
    for use in ("live", "cached"):
        run_recipe(recipe(world, tmp_path / use, teacher, names, ours | {"use": use}, spans="windows"))
        runs[use] = [row for row in read_jsonl(tmp_path / use / "metrics.jsonl") if row["split"] == "train"]
    for live, cached in zip(runs["live"], runs["cached"], strict=True):
        losses = {name: value for name, value in live.items() if name.startswith("loss/")}
        assert losses == pytest.approx({name: cached[name] for name in losses}, rel=1e-4)
