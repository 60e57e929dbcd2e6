"""The benchmark pair: the files that text.py makes, and every command that pair.yaml tells a person to type."""

import importlib.util
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from folders import jsonl

import stillroom.api
from stillroom.cli.main import app
from stillroom.core.errors import BadInput
from stillroom.core.record import read_jsonl, read_summary
from stillroom.data.columns import to_samples
from stillroom.data.encode import encode
from stillroom.data.overlap import overlap
from stillroom.data.sources import read_records
from stillroom.recipe.models import empty_model, load_config, load_tokenizer

ROOT = Path(__file__).parents[2]
RECIPE = "benchmarks/dolly/pair.yaml"
PARAGRAPH = " The stillroom , a room of {} houses , held 1 @,@ 000 jars ( and well @-@ kept ones ) . \n"
ARTICLES = [
    {"text": line}
    for number in range(6)
    for line in ("", f" = House {number} = \n", "", " = = Rooms = = \n", *[PARAGRAPH.format(number)] * 30)
]
QUESTIONS = [
    {"instruction": f"What is in jar {n}?", "context": "A jar." * (n % 2), "response": f"Number {n}."}
    for n in range(150)
]

SPEC = importlib.util.spec_from_file_location("pair_text", ROOT / "benchmarks" / "dolly" / "text.py")
text = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(text)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where a person stands: the repository's benchmarks, and the pair made from small files."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "benchmarks").symlink_to(ROOT / "benchmarks")
    sources = ("--text", str(jsonl(folder / "articles.jsonl", ARTICLES)))
    sources += ("--dolly", str(jsonl(folder / "dolly.jsonl", QUESTIONS)))
    text.main(["--output", str(folder / "pair"), *sources])
    text.main(["--output", str(folder / "again"), *sources])
    return folder


def commands():
    """The commands in the head comment of the recipe, as lists of words."""
    head = re.match(r"(#.*\n)+", (ROOT / RECIPE).read_text())[0]
    lines = re.sub(r"\\\n#\s*", "", head).splitlines()
    return [shlex.split(line[1:]) for line in lines if re.match(r"#   \w", line)]


def test_pieces_are_prose_of_one_document(home):
    pieces = [row["completion"] for row in read_jsonl(home / "pair" / "text.jsonl") if not row["prompt"]]
    joined = "".join(pieces)
    assert "held 1,000 jars (and well-kept ones)." in joined
    assert all(f"= House {number} =" in joined for number in range(6))
    assert all(len({n for n in range(6) if f"of {n} houses" in piece}) <= 1 for piece in pieces)
    assert all(400 < len(piece) < 1000 for piece in pieces)


def test_other_sources_hold_one_document_a_row():
    rows = ["a first\n\ndocument ,", "", "  \n", "a second", "a third"]
    assert list(text.documents(rows, 1000)) == ["a first\n\ndocument ,", "a second", "a third"]
    assert list(text.documents(rows, 22)) == ["a first\n\ndocument ,", "a s"]


@pytest.mark.parametrize("length", [1, 899, 900, 901, 1801, 5000])
def test_cutting_loses_nothing_but_white_space(length):
    document = ("distil it " * 600)[:length].strip()
    pieces = text.cut(document)
    assert " ".join(pieces).split() == document.split()
    assert max(map(len, pieces)) <= text.PIECE + len("distil")
    assert text.cut("x" * length) == ["x" * length]


def test_held_out_questions_are_not_trained_on(home):
    assert (home / "pair" / "dolly_dev.jsonl").read_text().count("\n") > 3
    for train, dev in (("dolly_train", "dolly_dev"), ("text", "text_dev")):
        samples = [to_samples(read_records(home / "pair" / f"{name}.jsonl")) for name in (train, dev)]
        assert overlap(*samples).count == 0
    rows = [row for side in ("train", "dev") for row in read_jsonl(home / "pair" / f"dolly_{side}.jsonl")]
    assert {tuple(row.values()) for row in rows} == {tuple(row.values()) for row in QUESTIONS}
    assert set(rows[0]) == {"instruction", "input", "output"}
    shouted = [row | {"instruction": row["instruction"].upper() + " "} for row in QUESTIONS]
    both = jsonl(home / "both.jsonl", QUESTIONS + shouted)
    assert overlap(*text.split(text.read_dolly(str(both)))).count == 0


def test_the_same_sources_give_the_same_files(home):
    made = sorted(path.relative_to(home / "pair") for path in (home / "pair").rglob("*.json*"))
    assert len(made) == 10
    assert all((home / "pair" / name).read_bytes() == (home / "again" / name).read_bytes() for name in made)


def test_held_out_text_is_dolly_as_the_later_stage_reads_it(home):
    tokenizer = load_tokenizer(str(home / "pair" / "student"), "student")
    read = {
        name: encode(to_samples(read_records(home / "pair" / name)), tokenizer, template, 64)
        for name, template in (("text_dev.jsonl", "plain"), ("dolly_dev.jsonl", "alpaca"))
    }
    plain, alpaca = read.values()
    assert len(plain) == len(alpaca)
    for one, other in zip(plain, alpaca, strict=True):
        assert one["input_ids"].tolist() == other["input_ids"].tolist()
        assert one["response_mask"].tolist() == other["response_mask"].tolist()


def test_pieces_without_a_prompt_are_trained_on_from_their_second_token(home):
    tokenizer = load_tokenizer(str(home / "pair" / "teacher"), "teacher")
    samples = to_samples(read_records(home / "pair" / "text.jsonl"))
    encoded = encode(samples, tokenizer, "plain", 512, train_on="everything")
    assert len(encoded) == len(samples)
    item = encoded[0]
    assert item["response_mask"].tolist() == [False] + [True] * (encoded.lengths[0] - 1)
    assert tokenizer.decode(item["input_ids"]) == samples[0].response + "<|endoftext|>"


@pytest.mark.parametrize(("role", "millions"), [("teacher", 12.6), ("student", 3.2)])
def test_the_shapes_have_the_sizes_that_are_claimed(home, role, millions):
    full = text.config(text.SHAPES[role], text.VOCABULARY)
    assert sum(each.numel() for each in empty_model(full).parameters()) / 1e6 == pytest.approx(
        millions, abs=0.1
    )
    tokenizer = load_tokenizer(str(home / "pair" / role), role)
    assert load_config(str(home / "pair" / role), role).vocab_size == len(tokenizer)
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|pad|>"]) == [0, 1]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    composed, apart = "caf\u00e9", "cafe\u0301"
    assert tokenizer(composed)["input_ids"] == tokenizer(apart)["input_ids"]


def test_without_files_the_sources_are_asked_of_the_hub(monkeypatch, tmp_path, capsys):
    import datasets

    asked = []

    def answer(name, config=None, *, split):
        asked.append((name, config, split))
        return datasets.Dataset.from_list(ARTICLES if "wikitext" in name else QUESTIONS)

    monkeypatch.setattr(datasets, "load_dataset", answer)
    text.main(["--output", str(tmp_path / "pair"), "--characters", "3000"])
    assert asked == [
        ("databricks/databricks-dolly-15k", None, "train"),
        ("Salesforce/wikitext", "wikitext-103-raw-v1", "train"),
    ]
    assert "text.jsonl" in capsys.readouterr().out
    pieces = [row["completion"] for row in read_jsonl(tmp_path / "pair" / "text.jsonl") if not row["prompt"]]
    assert 2900 < sum(map(len, pieces)) <= 3000


@pytest.mark.parametrize(
    ("articles", "questions", "sentence"),
    [
        ([{"body": "x"}], QUESTIONS, "articles.jsonl:1: expected a column 'text'"),
        (ARTICLES, [{"prompt": "x", "completion": "y"}], "expected an instruction and its response, got a prompt"),
        (ARTICLES, QUESTIONS[:1], "1 questions give 1 to train on and 0 held out"),
    ],
)  # fmt: skip
def test_unfit_sources_are_refused_in_a_sentence(articles, questions, sentence, tmp_path):
    sources = jsonl(tmp_path / "articles.jsonl", articles), jsonl(tmp_path / "dolly.jsonl", questions)
    with pytest.raises(BadInput, match=re.escape(sentence)):
        text.make_pair(tmp_path / "pair", *map(str, sources), 1000)
    with pytest.raises(SystemExit, match="error: "):
        text.main(["--output", str(tmp_path), "--text", str(sources[0]), "--dolly", str(sources[1])])


class Loaded(Exception):
    """The recipe was accepted; nothing is to be trained."""


def test_every_command_of_the_head_comment_is_sound_in_its_order(home, monkeypatch):
    recipes = []

    def run(recipe, **_):
        recipes.append(recipe)
        shutil.copytree(recipe.student.model, Path(recipe.output) / "student")
        raise Loaded

    monkeypatch.setattr(stillroom.api, "run", run)
    monkeypatch.chdir(home)
    make, *stages, make_folder, copy_teacher, copy_student = commands()
    assert (Path(make[1]).exists(), make[2:]) == (True, ["--output", "pair"])
    for stage in stages:
        assert stage[0] == "stillroom"
        with pytest.raises(Loaded):
            app(stage[1:], standalone_mode=False)
    for command in (make_folder, copy_teacher, copy_student):
        subprocess.run(command, check=True)
    sizes = [load_config(f"pair/trained/{role}", role).hidden_size for role in ("student", "teacher")]
    assert sizes == [192, 384]
    teacher, student, dolly = recipes
    assert [recipe.student.init for recipe in recipes] == ["random", "random", "pretrained"]
    assert (teacher.student.model, student.student.model) == ("pair/teacher", "pair/student")
    assert Path(dolly.student.model) == Path(teacher.output) / "student"
    assert (dolly.data.template, dolly.data.train_on, dolly.data.max_length) == ("alpaca", "responses", 512)
    rates = [recipe.training["learning_rate"] for recipe in recipes]
    epochs = [recipe.training["num_train_epochs"] for recipe in recipes]
    assert (rates, epochs) == ([1.5e-3, 2e-3, 4e-4], [1, 0.3, 1])
    assert [recipe.training["lr_scheduler_type"] for recipe in recipes] == ["cosine", "cosine", "linear"]


@pytest.mark.slow
def test_a_few_steps_of_the_text_stage(home, monkeypatch):
    monkeypatch.chdir(home)
    command = commands()[2][1:]
    sets = (
        "training.per_device_train_batch_size=4",
        "training.eval_strategy=no",
        "data.max_length=64",
        "data.limit=27",
        "data.eval_limit=4",
    )
    small = ["--output", "short", "--quiet", *(word for each in sets for word in ("--set", each))]
    assert (
        command[-1] == "training.num_train_epochs=0.3"
    )  # 27 samples are 7 batches; 0.3 of them, rounded up, are 3
    app([*command, *small], standalone_mode=False)
    summary = read_summary(home / "short")
    assert (summary.exit, summary.steps) == ("done", 3)
    assert summary.final["loss"] < summary.baseline["loss"]
    assert load_config(str(home / "short" / "student"), "student").hidden_size == 192
