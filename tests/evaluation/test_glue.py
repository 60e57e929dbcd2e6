"""GLUE: marks equal their twins, files are read as published, and a classifier learns what can be learned."""

import os
import random
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from folders import model_folder, tiny_tokenizer
from reference import classification as reference
from transformers import DataCollatorWithPadding

from stillroom.core.errors import BadInput
from stillroom.evaluation._glue_data import TASKS, Example, read_glue
from stillroom.evaluation.classification import accuracy, f1, matthews, pearson, spearman
from stillroom.evaluation.glue import encode, fine_tune, load_classifier

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "nlu" / "glue"


@pytest.mark.parametrize("seed", range(4))
def test_marks_equal_their_twins(seed):
    draw = random.Random(seed)
    labels = [int(draw.random() < 0.7) for _ in range(60)]
    predictions = [label if draw.random() < 0.6 else int(draw.random() < 0.5) for label in labels]
    assert accuracy(predictions, labels) == sum(p == y for p, y in zip(predictions, labels, strict=True)) / 60
    assert f1(predictions, labels) == pytest.approx(reference.f1(predictions, labels), abs=1e-12)
    assert matthews(predictions, labels) == pytest.approx(
        reference.correlation(predictions, labels), abs=1e-12
    )
    scores = [round(draw.gauss(0, 1), 1) for _ in labels]  # with ties
    answers = [round(score + draw.gauss(0, 1), 1) for score in scores]
    assert pearson(scores, answers) == pytest.approx(reference.correlation(scores, answers), abs=1e-12)
    by_rank = reference.correlation(reference.ranks(scores), reference.ranks(answers))
    assert spearman(scores, answers) == pytest.approx(by_rank, abs=1e-12)


def test_marks_of_one_answer_for_all_are_zero_where_nothing_is_told_apart():
    labels = [1, 1, 0, 1]
    assert matthews([1] * 4, labels) == 0 == pearson([1] * 4, labels)
    assert f1([0] * 4, labels) == 0
    assert f1([1] * 4, labels) == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("task", "sizes", "majority"),
    [("cola", (8551, 1043), 0.6913), ("mrpc", (3668, 408), 0.6838), ("rte", (2490, 277), 0.5271)],
)
def test_published_files_are_read_whole(task, sizes, majority):
    if not DATA.exists():
        pytest.skip("needs the real data (STILLROOM_DATA)")
    train, dev = read_glue(task, str(DATA))
    assert (len(train), len(dev)) == sizes
    commonest = max({0.0, 1.0}, key=[each.label for each in dev].count)
    assert accuracy([commonest] * len(dev), [each.label for each in dev]) == pytest.approx(majority, abs=1e-4)
    assert (dev[0].second is None) == (task == "cola")


def write_task(folder: Path, size: int = 64) -> Path:
    """RTE in which the second sentence says the answer; the first is long."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", size), ("dev", 16)):
        draw = random.Random(name)
        labels = [draw.choice(["entailment", "not_entailment"]) for _ in range(count)]
        says = {"entailment": "yes", "not_entailment": "no"}
        rows = [
            f"{i}\t{'the house ' * draw.randint(1, 30)}\t{says[label]}\t{label}"
            for i, label in enumerate(labels)
        ]
        (folder / f"{name}.tsv").write_text("\n".join(["index\tsentence1\tsentence2\tlabel", *rows]) + "\n")
    return folder


def test_a_classifier_learns_what_can_be_learned_and_counts_its_steps(tmp_path):
    model = model_folder(tmp_path / "model", seed=1)
    source = write_task(tmp_path / "glue" / "RTE")
    steps = []
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    marks = fine_tune(
        str(model),
        "rte",
        str(source.parent),
        epochs=4,
        learning_rate=1e-2,
        batch_size=8,
        max_length=24,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert marks["accuracy"] == 1.0 > marks["accuracy/majority"] >= 0.5
    assert marks["loss"] < 0.1
    assert (marks["documents"], marks["train_documents"]) == (16, 64)
    assert steps == [(step, 32) for step in range(1, 33)]
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()


def test_the_seed_decides_everything(tmp_path):
    model = str(model_folder(tmp_path / "model", seed=1))
    source = str(write_task(tmp_path / "RTE"))
    settings = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 8, "limit": 12}
    first = fine_tune(model, "rte", source, seed=3, **settings)
    torch.rand(5)
    assert fine_tune(model, "rte", source, seed=3, **settings) == first
    assert fine_tune(model, "rte", source, seed=4, **settings)["loss"] != first["loss"]
    assert (first["documents"], first["train_documents"]) == (12, 12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_answer_depends_neither_on_its_batch_nor_on_the_side_of_the_padding(tmp_path, side):
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = side
    folder = model_folder(tmp_path, seed=2, tokenizer=tokenizer)
    torch.manual_seed(0)
    classifier, tokenizer = load_classifier(str(folder), TASKS["sst2"])
    classifier.eval()
    examples = [Example("the house " * length, None, 1.0) for length in (1, 7, 3, 12)]
    encoded = [encode(tokenizer, example, TASKS["sst2"], 64) for example in examples]
    collate = DataCollatorWithPadding(tokenizer)
    with torch.no_grad():
        together = classifier(**collate(encoded)).logits
        alone = torch.cat([classifier(**collate([each])).logits for each in encoded])
        body = classifier.model(input_ids=torch.tensor([encoded[1]["input_ids"]])).last_hidden_state
        by_hand = body[0, -1] @ classifier.score.weight.T
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[1], by_hand, atol=1e-6, rtol=1e-5)


def test_the_longer_sentence_is_cut_and_the_two_are_parted(tmp_path):
    tokenizer = tiny_tokenizer()
    example = Example("the house " * 40, "is what", 0.0)
    ids = encode(tokenizer, example, TASKS["rte"], 20)
    assert len(ids["input_ids"]) == 20
    assert tokenizer.decode(ids["input_ids"]).endswith("\nis what")
    assert ids["labels"] == 0


def test_the_hub_is_read_where_no_files_are_given(monkeypatch):
    rows = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [2, 0]}
    asked = []

    def load(*names):
        asked.append(names)
        return {split: datasets.Dataset.from_dict(rows) for split in ("train", "validation_mismatched")}

    monkeypatch.setattr(datasets, "load_dataset", load)
    train, dev = read_glue("mnli-mm", None)
    assert asked == [("nyu-mll/glue", "mnli")]
    assert train == dev == [Example("a", "c", 2.0), Example("b", "d", 0.0)]

    def offline(*names):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(BadInput, match=r"the data of qnli cannot be reached.*no network.*qnli=PATH"):
        read_glue("qnli", None)


def test_every_task_reads_its_own_columns(tmp_path):
    for name, task in TASKS.items():
        folder = tmp_path / name
        folder.mkdir()
        header = not task.columns[0].isdigit()
        columns = ["index", *task.columns] if header else ["0", "1", "2", "3"]
        label = task.labels[-1] if task.labels else "3.5"
        cells = dict.fromkeys(columns, 'one "quoted') | {task.columns[-1]: label}
        lines = ["\t".join(columns)] * header + ["\t".join(cells.values())]
        for file in ("train", task.dev[0]):
            (folder / f"{file}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
        train, dev = read_glue(name, str(folder))
        assert train == dev, name
        assert train[0].first == 'one "quoted'
        assert train[0].label == (len(task.labels) - 1 if task.labels else 3.5)


def test_a_line_ends_where_the_file_says_so(tmp_path):
    """Texts hold other characters at which Python would break a line."""
    folder = tmp_path / "RTE"
    folder.mkdir()
    for name in ("train", "dev"):
        lines = ["index\tsentence1\tsentence2\tlabel", "0\tone\u2028two\x85three\tb\tentailment", ""]
        (folder / f"{name}.tsv").write_text("\r\n".join(lines), encoding="utf-8", newline="")
    (example,), _ = read_glue("rte", str(tmp_path))
    assert (example.first, example.label) == ("one\u2028two\x85three", 0)


def test_bad_input_is_said_with_its_place(tmp_path):
    with pytest.raises(BadInput, match="mrcp is no GLUE task; choose from cola"):
        fine_tune("nowhere", "mrcp")
    with pytest.raises(BadInput, match="epochs 0"):
        fine_tune("nowhere", "rte", epochs=0)
    with pytest.raises(BadInput, match=r"train\.tsv: no such file; give the folder"):
        read_glue("rte", str(tmp_path))
    folder = write_task(tmp_path / "RTE")
    with pytest.raises(BadInput, match=f"nowhere/{'model'} cannot be fine-tuned"):
        fine_tune(str(tmp_path / "nowhere/model"), "rte", str(folder))
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n")
    with pytest.raises(
        BadInput, match=r"dev\.tsv:2: expected the label entailment or not_entailment, got 'maybe'"
    ):
        read_glue("rte", str(folder))
    (folder / "dev.tsv").write_text("index\tsentence1\tlabel\n0\ta\tb\n")
    with pytest.raises(
        BadInput, match=r"dev\.tsv:2: no column 'sentence2'; expected sentence1, sentence2, label"
    ):
        read_glue("rte", str(folder))
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n")
    with pytest.raises(BadInput, match="holds no example"):
        read_glue("rte", str(folder))
