"""Bad input gets one clear sentence: exit code 2, no traceback, and no weight was loaded.

The numbers are those of the list of faults that users deserve an answer to.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from folders import CHAT, QUESTIONS, jsonl, model_folder, tiny_tokenizer
from tokenizers import Tokenizer

GOOD = json.dumps(QUESTIONS[0]).encode()


@dataclass
class Case:
    """`data` is written to bad.jsonl; `recipe` is written to bad.yaml; `words` are put behind the good flags."""

    name: str
    expect: tuple[str, ...]
    data: bytes | None = None
    recipe: str | None = None
    words: tuple[str, ...] = ()
    build: Callable[[Path], dict[str, Path]] | None = None
    loads: bool = field(default=False)
    """Weights have to be looked at to know."""


def records(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def other_tokenizer(root: Path) -> dict[str, Path]:
    swapped = tiny_tokenizer()
    content = json.loads(swapped.backend_tokenizer.to_str())
    ids = content["model"]["vocab"]
    ids["a"], ids["b"] = ids["b"], ids["a"]
    swapped._tokenizer = Tokenizer.from_str(json.dumps(content))
    return {"teacher": model_folder(root / "t", seed=2, tokenizer=swapped)}


def narrow_head(root: Path) -> dict[str, Path]:
    return {"student": model_folder(root / "s", seed=1, rows=250)}


def normalizing_tokenizer(root: Path) -> dict[str, Path]:
    from tokenizers import normalizers

    lower = tiny_tokenizer()
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    return {"teacher": model_folder(root / "t", seed=2, tokenizer=lower)}


def poisoned_teacher(root: Path) -> dict[str, Path]:
    return {"teacher": model_folder(root / "t", seed=2, poison=True)}


def damaged_student(root: Path) -> dict[str, Path]:
    folder = model_folder(root / "s", seed=1)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return {"student": folder}


def half_a_teacher(root: Path) -> dict[str, Path]:
    from safetensors.torch import load_file, save_file

    folder = model_folder(root / "t", seed=2)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return {"teacher": folder}


def empty_folder(root: Path) -> dict[str, Path]:
    (root / "nothing").mkdir()
    return {"teacher": root / "nothing"}


DATA = [
    Case("1 truncated last line", ("bad.jsonl:2", "byte"), GOOD + b'\n{"instruction": "a", "outp'),
    Case("2 invalid utf-8", ("bad.jsonl:2", "UTF-8"), GOOD + b'\n{"instruction": "\xff", "output": "b"}\n'),
    Case("2 NUL bytes", ("bad.jsonl:2", "NUL"), GOOD + b'\n{"instruction": "a\x00", "output": "b"}\n'),
    Case("3 not an object", ("bad.jsonl:1", "object"), b"[1, 2]\n"),
    Case("3 misspelt field", ("outptu", "output"), records({"instruction": "a", "outptu": "b"})),
    Case("3 missing later", ("bad.jsonl:2", "output"), records(QUESTIONS[0], {"instruction": "a"})),
    Case("4 wrong type", ("bad.jsonl:1", "instruction"), records({"instruction": 7, "output": "b"})),
    Case("4 null", ("bad.jsonl:1", "output"), records({"instruction": "a", "output": None})),
    Case("5 empty file", ("empty",), b""),
    Case("5 white space only", ("no records",), b"\n\n"),
    Case("5 fewer than a batch", ("1 usable samples", "batch of 8"), records(QUESTIONS[0])),
    Case(
        "6 empty responses",
        ("responses are empty",),
        records(*QUESTIONS, {"instruction": "a", "output": " "}),
    ),
    Case("12 no chat template", ("chat template",), words=("--set", "data.template=chat")),
    Case("2 unknown kind", ("notes.txt",), words=("--data", "notes.txt")),
    Case("5 absent file", ("there is no file",), words=("--data", "./absent.jsonl")),
]

MODELS = [
    Case("19 tokenizer larger than the head", ("250 rows", "student"), build=narrow_head),
    Case("20 same size, other ids", ("'a'", "'b'"), build=other_tokenizer),
    Case("21 same ids, other normalizer", ("tokenizer",), build=normalizing_tokenizer),
    Case("24 NaN in the weights", ("up_proj", "NaN"), build=poisoned_teacher, loads=True),
    Case("24 damaged weights", ("student", "weights"), build=damaged_student, loads=True),
    Case("24 weights are missing", ("layers.1.mlp.up_proj", "not whole"), build=half_a_teacher, loads=True),
    Case("no model in the folder", ("teacher", "nothing"), build=empty_folder),
]

HEAD = "student: {model: STUDENT}\nteacher: {model: TEACHER}\ndata: {train: DATA}\noutput: OUTPUT\n"
RECIPES = [
    Case("35 malformed", ("bad.yaml:6",), recipe=HEAD + "objectives: [logits.forward_kl\ntraining: {}\n"),
    Case(
        "36 unknown key",
        ("learning_rate",),
        recipe=HEAD + "objectives: [logits.forward_kl]\ntraining: {learning_rat: 1}\n",
    ),
    Case(
        "36 all unknown keys at once",
        ("objectivs", "sed", "did you mean"),
        recipe=HEAD + "objectivs: [logits.forward_kl]\nsed: 3\n",
    ),
    Case(
        "37 duplicate key",
        ("seed", "bad.yaml:7"),
        recipe=HEAD + "objectives: [logits.forward_kl]\nseed: 1\nseed: 2\n",
    ),
    Case(
        "38 temperature 0",
        ("temperature",),
        recipe=HEAD + "objectives: [{use: logits.forward_kl, temperature: 0}]\n",
    ),
    Case(
        "38 temperature NaN",
        ("temperature",),
        recipe=HEAD + "objectives: [{use: logits.forward_kl, temperature: .nan}]\n",
    ),
    Case("39 no objectives", ("objectives",), recipe=HEAD + "objectives: []\n"),
    Case(
        "39 all weights zero",
        ("weight",),
        recipe=HEAD + "objectives: [{use: logits.forward_kl, weight: 0}]\n",
    ),
    Case(
        "41 beta outside",
        ("beta", "1.5"),
        recipe=HEAD + "objectives: [{use: logits.jensen_shannon, beta: 1.5}]\n",
    ),
    Case(
        "41 alpha outside", ("alpha", "-1"), recipe=HEAD + "objectives: [{use: logits.skew_kl, alpha: -1}]\n"
    ),
    Case(
        "36 unknown objective",
        ("forward_lk", "logits.forward_kl"),
        recipe=HEAD + "objectives: [logits.forward_lk]\n",
    ),
    Case(
        "36 unknown setting",
        ("temprature", "temperature"),
        recipe=HEAD + "objectives: [{use: logits.forward_kl, temprature: 2}]\n",
    ),
    Case(
        "45 contradiction",
        ("max_prompt_length",),
        recipe=HEAD.replace("train: DATA", "train: DATA, max_length: 64, max_prompt_length: 64")
        + "objectives: [logits.forward_kl]\n",
    ),
    Case(
        "45 teacher missing",
        ("teacher",),
        recipe=HEAD.replace("teacher: {model: TEACHER}\n", "") + "objectives: [logits.forward_kl]\n",
    ),
    Case("37 empty recipe", ("empty",), recipe="\n"),
    Case("39 a value of the wrong kind", ("max_steps",), words=("--set", "training.max_steps=many")),
    Case("36 unknown path in --set", ("trainin",), words=("--set", "trainin.max_steps=3")),
    Case("45 not supported", ("torch_compile", "compiler"), words=("--set", "training.torch_compile=true")),
    Case("45 shown twice", ("disable_tqdm",), words=("--set", "training.disable_tqdm=true")),
    Case(
        "45 no argument of this schedule",
        ("lr_scheduler_kwargs",),
        words=(
            "--set",
            "training.lr_scheduler_type=onecycle",
            "--set",
            "training.lr_scheduler_kwargs={num_cycles: 2}",
        ),
    ),
    Case("45 best without evaluation", ("eval",), words=("--set", "training.load_best_model_at_end=true")),
    Case("45 absent tracker", ("report_to", "nowhere"), words=("--set", "training.report_to=[nowhere]")),
    Case("45 reserved teacher", ("served",), words=("--set", "teacher.use=served")),
    Case(
        "45 no room for the answers",
        ("512 positions", "evaluation.prompts: 0"),
        words=("--set", "data.eval=DATA", "--set", "evaluation.max_new_tokens=512"),
    ),
    Case("45 a cache without a folder", ("cached",), words=("--set", "teacher.use=cached")),
]


@pytest.fixture
def no_weights(monkeypatch):
    import transformers

    def refuse(*args, **kwargs):
        raise AssertionError("weights were loaded before the input was found bad")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", refuse)


@pytest.mark.parametrize("case", [*DATA, *MODELS, *RECIPES], ids=lambda case: case.name)
def test_one_sentence_and_exit_code_2(case, world, typed, tmp_path, request):
    if not case.loads:
        request.getfixturevalue("no_weights")
    places = {name: world / name for name in ("teacher", "student")} | {"data": world / "data.jsonl"}
    places |= case.build(tmp_path) if case.build else {}
    if case.data is not None:
        places["data"] = tmp_path / "bad.jsonl"
        places["data"].write_bytes(case.data)
    if case.recipe is not None:
        text = case.recipe.replace("OUTPUT", str(tmp_path / "run"))
        for name in ("student", "teacher", "data"):
            text = text.replace(name.upper(), str(places[name]))
        (tmp_path / "bad.yaml").write_text(text)
        done = typed("distill", tmp_path / "bad.yaml")
    else:
        flags = [word for name, place in places.items() for word in (f"--{name}", place)]
        flags += ["--objective", "logits.forward_kl", "--output", tmp_path / "run", "--max-steps", "1"]
        done = typed("distill", *flags, *(word.replace("DATA", str(places["data"])) for word in case.words))
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    for words in case.expect:
        assert words in done.err
    assert not (tmp_path / "run" / "student").exists()


def test_46_an_output_that_is_a_file_is_refused(world, typed, tmp_path):
    (tmp_path / "run").write_text("mine")
    done = typed(
        "distill", "--teacher", world / "teacher", "--student", world / "student", "--data", world / "data.jsonl",
        "--objective", "logits.forward_kl", "--output", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 2
    assert (tmp_path / "run").read_text() == "mine"


def test_2_byte_order_mark_and_carriage_returns_are_fine(world, typed, tmp_path):
    lines = b"\r\n".join(json.dumps(row).encode() for row in QUESTIONS)
    (tmp_path / "d.jsonl").write_bytes(b"\xef\xbb\xbf" + lines)
    done = typed(
        "check", "--student", world / "student", "--data", tmp_path / "d.jsonl", "--objective",
        "hard.cross_entropy", "--output", tmp_path / "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["data"]["train"]["samples"] == len(QUESTIONS)


def test_46_spaces_and_letters_of_other_scripts_in_paths(world, typed, tmp_path):
    folder = tmp_path / "mes données"
    folder.mkdir()
    data = jsonl(folder / "数据 1.jsonl", QUESTIONS)
    done = typed(
        "check", "--student", world / "student", "--data", data, "--objective", "hard.cross_entropy",
        "--output", folder / "läuft",
    )  # fmt: skip
    assert done.code == 0, done.err


def test_7_8_11_13_what_is_cut_dropped_or_shared_is_said(world, typed, tmp_path):
    long = {"instruction": "word " * 300, "output": "yes " * 300}
    special = {"instruction": "what is <end>?", "output": "a token"}
    data = jsonl(tmp_path / "d.jsonl", [*QUESTIONS, long, special])
    done = typed(
        "check", "--student", world / "student", "--teacher", world / "teacher", "--data", data, "--eval",
        world / "data.jsonl", "--objective", "logits.forward_kl", "--output", tmp_path / "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["data"]["train"]["cut_prompts"] >= 1
    assert facts["data"]["train"]["cut_responses"] >= 1
    notes = " ".join(facts["notes"])
    assert "40 of 40 evaluation questions are also trained on" in notes
    assert "special token" in notes


def test_12_chat_templates_that_differ_are_refused(typed, tmp_path):
    student = model_folder(tmp_path / "s", seed=1, tokenizer=tiny_tokenizer(chat_template=CHAT))
    teacher = model_folder(tmp_path / "t", seed=2, tokenizer=tiny_tokenizer(chat_template=CHAT + " "))
    data = jsonl(tmp_path / "d.jsonl", QUESTIONS)
    done = typed(
        "distill", "--student", student, "--teacher", teacher, "--data", data, "--objective", "logits.forward_kl",
        "--output", tmp_path / "run", "--set", "data.template=chat",
    )  # fmt: skip
    assert done.code == 2
    assert "template" in done.err


def test_a_command_that_does_not_exist_is_refused(typed):
    assert typed("distil").code == 2
