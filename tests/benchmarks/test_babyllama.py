"""The text of the BabyLLaMA experiment: nothing is lost, pieces fit, no document is on both sides; and its table."""

import importlib.util
import json
from pathlib import Path

import pytest
from folders import jsonl, tiny_tokenizer

from stillroom.recipe.load import load_recipe

HOME = Path(__file__).parents[2] / "benchmarks" / "shd"


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, HOME / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return loaded("babyllama_text")


def test_pieces_lose_nothing_and_fit(script):
    tokenizer = tiny_tokenizer()
    document = "the stillroom is where things are distilled " * 60 + "x" * 400
    found = list(script.pieces(document, tokenizer))
    assert "".join(found) == document
    assert len(found) > 2
    assert all(len(tokenizer(piece)["input_ids"]) <= script.PIECE for piece in found)
    assert found[1].startswith(" ")  # cut before a word


def test_documents_are_on_one_side_and_tasks_are_left_out(script, tmp_path, capsys):
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    rows = [{"source": f"web_{i % 3}", "text": f"document {i} says something"} for i in range(300)]
    source = jsonl(tmp_path / "rows.jsonl", [*rows, {"source": "glue_mrpc", "text": "an exam"}, rows[0]])
    words = [
        "--output",
        tmp_path / "out",
        "--tokenizer",
        tmp_path / "tokenizer",
        "--text",
        source,
        "--without",
        "glue_",
    ]
    script.main([str(word) for word in words])
    sides = {
        name: {
            json.loads(line)["text"] for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()
        }
        for name in ("text", "text_dev")
    }
    assert sides["text_dev"]
    assert not sides["text"] & sides["text_dev"]
    assert sides["text"] | sides["text_dev"] == {row["text"] for row in rows}
    assert "pieces" in capsys.readouterr().out
    for name in ("gpt2", "llama", "student"):
        config = json.loads((tmp_path / "out" / name / "config.json").read_text())
        assert config["vocab_size"] == len(tokenizer)


def test_lines_are_joined_without_loss(script):
    lines = [f"line {i}" for i in range(3000)]
    assert "".join(script.joined(["", *lines, " "])) == "\n".join(lines)
    assert max(map(len, script.joined(lines))) == script.PROSE


def test_the_comparison_and_its_teachers_are_valid(monkeypatch, tmp_path):
    from stillroom.compare.plan import read_plan, resolve

    monkeypatch.chdir(tmp_path)
    (tmp_path / "babyllama").mkdir()
    for name in ("text", "text_dev"):
        jsonl(tmp_path / "babyllama" / f"{name}.jsonl", [{"text": "t"}])
    assert load_recipe(HOME / "babyllama_teachers.yaml").teacher is None
    plan = read_plan(HOME / "babyllama.yaml")
    teachers = {name: resolve(plan, name, 10, tmp_path, {}, []).teacher for name in plan.variants}
    combined = {name: teacher.combine for name, teacher in teachers.items()}
    assert combined.pop("BabyLLaMA, mean of probabilities") == "probabilities"
    assert set(combined.values()) == {"logits"}


def test_the_table_pairs_by_seed():
    glue = loaded("babyllama_glue")
    tasks = dict.fromkeys(glue.TASKS, 0.5)
    major = {f"{task}/majority": 0.25 for task in glue.TASKS}
    rows = {
        "not pre-trained": dict.fromkeys((1, 2), tasks | major),
        "BabyLLaMA": {seed: {**tasks, **major, "loss": 5.0 + seed} for seed in (1, 2)},
        "better": {seed: {**tasks, **major, "loss": 4.5 + 1.1 * seed, "sst2": 0.6} for seed in (1, 2)},
    }
    runs = [{"seed": seed, "tokens": 100, "seconds": 2.0} for seed in (1, 2)]
    compared = {
        "about": "A check.",
        "seeds": [1, 2],
        "variants": {name: {"runs": runs} for name in ("BabyLLaMA", "better")},
        **dict.fromkeys(("command", "versions", "processor", "data", "hashes", "marks")),
    }
    found = glue.content(rows, compared, "BabyLLaMA")
    difference = found["variants"]["better"]["marks"]["loss"]["difference"]
    assert (difference["mean"], difference["wins"], difference["n"]) == (pytest.approx(-0.35), 2, 2)
    assert found["variants"]["better"]["marks"]["sst2"]["difference"]["wins"] == 2
    text = glue.page(json.loads(json.dumps(found)), "command")
    assert "| commonest label |  | 0.250 | 0.250 | 0.250 | 0.250 |" in text
    assert "| not pre-trained |  | 0.500 ± 0.000 |" in text
    assert "| better | -0.350 [" in text
    assert "fine-tuning says nothing about pre-training" in text
    for seed in (1, 2):
        rows["BabyLLaMA"][seed]["mrpc"] = 0.7 + 0.01 * seed
    assert "worse (95 % interval) in MRPC F1, and in nothing else" in glue.page(
        json.loads(json.dumps(glue.content(rows, compared, "BabyLLaMA"))), "command"
    )
