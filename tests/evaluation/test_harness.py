"""The harness on local files: the exam is that of the Hub, numbers equal a plain loop, the model stays as it was."""

import json
import logging
import os
import re
import sys
from pathlib import Path

import datasets
import pytest
import torch
from folders import jsonl, tiny_tokenizer
from reference.multiple_choice import choose, log_likelihood
from tiny import tiny_llama

from stillroom.core.errors import BadInput
from stillroom.evaluation import harness
from stillroom.evaluation.harness import run_harness

lm_eval = pytest.importorskip("lm_eval")

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[3] / "shared" / "data")) / "nlu"


def needs_data(part: str) -> str:
    if not (DATA / part).exists():
        pytest.skip("needs the real data (STILLROOM_DATA)")
    return str(DATA / part)


def model_and_tokenizer(positions: int = 2048):
    tokenizer = tiny_tokenizer()
    model = tiny_llama(3, vocab_size=len(tokenizer))
    model.config.max_position_embeddings = positions
    return model, tokenizer


def mmlu_row(subject: str, number: int) -> dict:
    choices = [f"thing {number + i}" for i in range(4)]
    return {"question": f" Which is {number}?", "subject": subject, "choices": choices, "answer": number % 4}


def mmlu(folder: Path, subjects: tuple[str, ...] = ("anatomy",), tests: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    jsonl(folder / "dev.jsonl", [mmlu_row(each, number) for number in range(5) for each in subjects])
    jsonl(folder / "test.jsonl", [mmlu_row(each, 9 + number) for number in range(tests) for each in subjects])
    return folder


def bbh_names() -> list[str]:
    tasks = Path(lm_eval.__file__).parent / "tasks" / "bbh" / "fewshot"
    return [path.stem for path in tasks.glob("*.yaml") if not path.stem.startswith("_")]


def bbh(folder: Path, sizes: dict[str, int] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name in bbh_names():
        examples = [{"input": f"{name} {i}?", "target": "yes"} for i in range((sizes or {}).get(name, 1))]
        (folder / f"{name}.json").write_text(json.dumps({"canary": "", "examples": examples}))
    return folder


def gsm8k(folder: Path, tests: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [{"question": f"{i} and 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i + 1}"} for i in range(8)]
    jsonl(folder / "train.jsonl", rows[tests:])
    jsonl(folder / "test.jsonl", rows[:tests])
    return folder


def drop_answer(number: str = "", spans: tuple[str, ...] = ()) -> dict:
    return {"number": number, "date": {"day": "", "month": "", "year": ""}, "spans": list(spans)}


def drop(folder: Path, questions: int = 4) -> Path:
    folder.mkdir(exist_ok=True)
    pairs = [
        {
            "question": f"How many in {i}?",
            "query_id": f"q{i}",
            "answer": drop_answer(number=f"{i}.5"),
            "validated_answers": [drop_answer(spans=("some", f"more {i}"))],
        }
        for i in range(questions)
    ]
    (folder / "drop_dev.json").write_text(json.dumps({"p1": {"passage": "A passage.", "qa_pairs": pairs}}))
    return folder


def exam(name: str, source: Path | None, shots: int | None = None) -> dict:
    with harness._quiet():
        return harness._load(name, None if source is None else str(source), shots)["tasks"]


def prompts(tasks: dict) -> dict[str, list[tuple[str, object]]]:
    """Prompt and target of every document, by task."""
    return {
        name: [
            (task.fewshot_context(doc, task.config.num_fewshot or 0), task.doc_to_target(doc))
            for doc in task.eval_docs
        ]
        for name, task in tasks.items()
    }


def test_mmlu_prompt(tmp_path):
    (prompt, target), *_ = prompts(exam("mmlu_anatomy", mmlu(tmp_path / "mmlu")))["mmlu_anatomy"]

    def shown(number: int) -> str:
        lines = "\n".join(f"{letter}. thing {number + i}" for i, letter in enumerate("ABCD"))
        return f"Which is {number}?\n{lines}\nAnswer:"

    shots = [f"{shown(number)} {'ABCD'[number % 4]}\n\n" for number in range(5)]
    head = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    assert prompt == head + "".join(shots) + shown(9)
    assert target == 1


def test_gsm8k_and_bbh_prompts(tmp_path):
    tasks = exam("gsm8k", gsm8k(tmp_path / "gsm8k"))
    (prompt, target), *_ = prompts(tasks)["gsm8k"]
    *shots, last = prompt.split("\n\n")
    assert len(shots) == 5
    assert all(re.fullmatch(r"Question: (\d) and 1\?\nAnswer: \1 \+ 1 = \d\n#### \d", shot) for shot in shots)
    assert last == "Question: 0 and 1?\nAnswer:"
    assert target == "0 + 1 = 1\n#### 1"

    direct = prompts(exam("bbh_fewshot_snarks", bbh(tmp_path / "bbh")))["bbh_fewshot_snarks"]
    assert direct[0][0].startswith("Determine which of two sentences is sarcastic.\n\n")
    assert direct[0][0].count("\nA: (") == 3
    assert direct[0][0].endswith("\n\nQ: snarks 0?\nA:")
    reasoned = prompts(exam("bbh_cot_fewshot_snarks", tmp_path / "bbh"))["bbh_cot_fewshot_snarks"]
    assert reasoned[0][0].count("So the answer is (") == 3
    assert reasoned[0][0].endswith("\n\nQ: snarks 0?\nA: Let's think step by step.\n")


def test_shots_of_drop_show_the_answer_and_never_the_question_asked(tmp_path):
    tasks = exam("drop", drop(tmp_path / "drop"))
    for number, (prompt, _) in enumerate(prompts(tasks)["drop"]):
        *shots, last = prompt.split("\n\n")
        assert len(shots) == 3
        assert all(re.fullmatch(r"A passage\. How many in (\d)\? \1\.5", shot) for shot in shots)
        assert last == f"A passage. How many in {number}?"
        assert f"How many in {number}?" not in "".join(shots)
    assert tasks["drop"].config.generation_kwargs["until"] == ["\n"]
    without = exam("drop", tmp_path / "drop", shots=0)["drop"]
    assert without.config.generation_kwargs["until"] == ["."]


@pytest.mark.parametrize("name", ["mmlu_other", "gsm8k", "bbh_fewshot", "drop"])
def test_a_local_exam_is_the_exam_of_the_hub(tmp_path, monkeypatch, name):
    """The Hub is played by its own layout, written down here: what comes out is the same prompt and the same target."""
    folder = tmp_path / "data"
    tasks = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    known = lm_eval.tasks.TaskManager(include_path=tasks, include_defaults=False)
    subjects = tuple(
        entry.cfg["dataset_name"]
        for entry in known.task_index.values()
        if (entry.cfg or {}).get("tag") == "mmlu_other_tasks"
    )
    asked = []

    def hub(path, name):
        asked.append(path)
        if path == "cais/mmlu":
            rows = {
                "dev": [mmlu_row(name, i) for i in range(5)],
                "test": [mmlu_row(name, 9 + i) for i in range(2)],
            }
        elif path == "SaylorTwift/bbh":
            rows = {"test": [{"input": f"{name} 0?", "target": "yes"}]}
        elif path == "openai/gsm8k":
            rows = {
                split: [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
                for split in ("train", "test")
            }
        else:
            pairs = json.loads((folder / "drop_dev.json").read_text())["p1"]["qa_pairs"]
            extra = {"worker_id": "", "hit_id": ""}
            rows = [
                {
                    "section_id": "p1",
                    "passage": "A passage.",
                    "question": pair["question"],
                    "query_id": pair["query_id"],
                    "answer": pair["answer"] | extra,
                    "validated_answers": {
                        key: [each[key] for each in pair["validated_answers"]]
                        for key in ("number", "date", "spans")
                    },
                }
                for pair in pairs
            ]
            rows = {"train": rows, "validation": rows}
        return datasets.DatasetDict({split: datasets.Dataset.from_list(each) for split, each in rows.items()})

    made = {"mmlu_other": lambda: mmlu(folder, subjects, tests=2), "gsm8k": lambda: gsm8k(folder)}
    made |= {"bbh_fewshot": lambda: bbh(folder), "drop": lambda: drop(folder)}
    made[name]()
    # With shots the local DROP draws them from its one file, the Hub's from its training set.
    shots = 0 if name == "drop" else None
    local = exam(name, folder, shots)
    monkeypatch.setattr(datasets, "load_dataset", hub)
    online = exam(name, None, shots)
    assert len(asked) == len(online) == {"mmlu_other": len(subjects), "bbh_fewshot": 27}.get(name, 1)
    if name == "drop":  # what is scored are the accepted answers; the harness leaves them in another column
        accepted = [["0.5"], ["some", "more 0"]]
        assert local["drop"].eval_docs[0]["answers"] == online["drop"].eval_docs[0]["answers"] == accepted
        assert [each for each, _ in prompts(local)["drop"]] == [each for each, _ in prompts(online)["drop"]]
    else:
        assert prompts(local) == prompts(online)


def test_shots_of_bbh_are_those_of_its_authors():
    folder = Path(needs_data("bbh"))
    tasks = exam("bbh_cot_fewshot", folder)
    differ = []
    for name, task in tasks.items():
        short = name.removeprefix("bbh_cot_fewshot_")
        theirs = (folder / "cot-prompts" / f"{short}.txt").read_text().split("-----\n")[1].strip()
        ours = task.fewshot_context(dict(task.eval_docs[0]), 3).rsplit("\n\nQ: ", 1)[0].strip()
        if "".join(ours.split()) != "".join(theirs.split()):
            differ.append(short)
    assert len(differ) <= 3, differ


def test_likelihoods_and_accuracy_equal_a_plain_loop(tmp_path):
    from lm_eval.api.instance import Instance

    from stillroom.evaluation._harness_model import HarnessModel

    model, tokenizer = model_and_tokenizer()
    exact = tiny_llama(3, vocab_size=len(tokenizer)).double()

    def next_token_logits(ids):
        with torch.no_grad():
            return exact(torch.tensor([ids])).logits[0, -1].tolist()

    source = mmlu(tmp_path / "mmlu", tests=5)
    asked = prompts(exam("mmlu_anatomy", source, shots=1))["mmlu_anatomy"]
    choices = [" A", " B", " C", " D is longer"]
    pairs = [(prompt, choice) for prompt, _ in asked for choice in choices]
    instances = [
        Instance("loglikelihood", {}, pair, number, metadata=("t", 0, 1)) for number, pair in enumerate(pairs)
    ]
    with harness._quiet():
        ours = HarnessModel(model, tokenizer, 3, None).loglikelihood(instances)
    twins = []
    for prompt, choice in pairs:
        context, both = tokenizer(prompt)["input_ids"], tokenizer(prompt + choice)["input_ids"]
        twins.append(log_likelihood(next_token_logits, context, both[len(context) :]))
    assert [value for value, _ in ours] == pytest.approx(twins, abs=1e-4)

    letters = []
    for prompt, _ in asked:
        context = tokenizer(prompt)["input_ids"]
        letters.append(
            choose(
                [log_likelihood(next_token_logits, context, tokenizer(f" {x}")["input_ids"]) for x in "ABCD"]
            )
        )
    marks = run_harness(
        model, tokenizer, ["mmlu_anatomy"], sources={"mmlu_anatomy": str(source)}, shots={"mmlu_anatomy": 1}
    )
    assert marks["mmlu_anatomy"]["acc"] == sum(a == b for a, (_, b) in zip(letters, asked, strict=True)) / 5
    assert marks["mmlu_anatomy"]["documents"] == 5
    assert marks["mmlu_anatomy"]["shots"] == 1
    assert marks["mmlu_anatomy"]["cut"] == 0


def writes(monkeypatch, answer):
    """A model that writes `answer(prompt)`, cut at the stops as the harness does."""
    from stillroom.evaluation._harness_model import HarnessModel

    def generate_until(self, requests, disable_tqdm=False):
        texts = []
        for request in requests:
            text = answer(request.args[0])
            for stop in request.args[1]["until"]:
                text = text.split(stop)[0]
            texts.append(text)
        return texts

    monkeypatch.setattr(HarnessModel, "generate_until", generate_until)


def test_known_answers_get_their_marks(tmp_path, monkeypatch):
    model, tokenizer = model_and_tokenizer()

    def answer(prompt: str) -> str:
        asked = prompt.rsplit("\n\n", 1)[-1]
        if asked.startswith("Question: 0"):
            return " 0 + 1 = 1\n#### 1\n\nQuestion: and on"
        if asked.startswith("Question: 1"):
            return " It is 2, I think"
        if asked.startswith("A passage. How many in 0"):
            return " 0.5\n\nA passage. And on"
        if asked.startswith("A passage. How many in 1"):
            return " more 1"
        return " no idea"

    writes(monkeypatch, answer)
    sources = {"gsm8k": str(gsm8k(tmp_path / "gsm8k")), "drop": str(drop(tmp_path / "drop"))}
    marks = run_harness(model, tokenizer, ["gsm8k", "drop"], sources=sources)
    assert marks["gsm8k"]["exact_match_strict_match"] == pytest.approx(1 / 3)
    assert marks["gsm8k"]["exact_match_flexible_extract"] == pytest.approx(2 / 3)
    assert marks["drop"]["em"] == pytest.approx(1 / 4)
    assert marks["drop"]["f1"] == pytest.approx((1 + 0.5) / 4)  # one of two accepted spans


def test_a_group_has_the_mean_weighted_by_size_and_every_member(tmp_path, monkeypatch):
    model, tokenizer = model_and_tokenizer()
    writes(monkeypatch, lambda prompt: " yes" if "snarks" in prompt.rsplit("\n\n", 1)[-1] else " no")
    source = bbh(tmp_path / "bbh", {"snarks": 14})
    marks = run_harness(model, tokenizer, ["bbh_fewshot"], sources={"bbh_fewshot": str(source)})[
        "bbh_fewshot"
    ]
    assert marks["exact_match"] == pytest.approx(14 / 40)
    assert marks["exact_match/snarks"] == 1
    assert marks["exact_match/navigate"] == 0
    assert marks["documents"] == 40
    assert marks["shots"] == 3
    assert sum("/" in name for name in marks) == 27


def test_the_model_and_the_world_stay_as_they_were(tmp_path):
    model, tokenizer = model_and_tokenizer(positions=512)
    tokenizer.pad_token, tokenizer.padding_side = None, "right"
    model.train()
    model.model.layers[0].eval()
    logging.getLogger("lm_eval").setLevel(logging.INFO)
    state, steps = torch.get_rng_state(), []
    marks = run_harness(
        model,
        tokenizer,
        ["gsm8k", "mmlu_anatomy"],
        sources={"gsm8k": str(gsm8k(tmp_path / "gsm8k")), "mmlu_anatomy": str(mmlu(tmp_path / "mmlu"))},
        limit=2,
        batch_size=1,
        progress=lambda name, done, total: steps.append((name, done, total)),
    )
    assert steps == [("gsm8k", 1, 2), ("gsm8k", 2, 2), ("mmlu_anatomy", 1, 2), ("mmlu_anatomy", 2, 2)]
    assert marks["gsm8k"]["documents"] == 2
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert not model.model.layers[0].training
    assert tokenizer.pad_token is None
    assert tokenizer.padding_side == "right"
    assert logging.getLogger("lm_eval").level == logging.INFO


def test_what_does_not_fit_is_counted(tmp_path):
    model, tokenizer = model_and_tokenizer(positions=64)
    sources = {"gsm8k": str(gsm8k(tmp_path / "gsm8k")), "mmlu_anatomy": str(mmlu(tmp_path / "mmlu"))}
    marks = run_harness(model, tokenizer, ["gsm8k", "mmlu_anatomy"], sources=sources, limit=2)
    assert marks["gsm8k"]["cut"] == 1
    assert marks["mmlu_anatomy"]["cut"] == 1


def test_a_random_model_is_at_chance():
    source = needs_data("mmlu")
    model, tokenizer = model_and_tokenizer()
    name = "mmlu_stem"  # 19 subjects
    marks = run_harness(model, tokenizer, [name], sources={name: source}, shots={name: 0}, limit=6)[name]
    assert marks["documents"] == 114
    assert 0.08 < marks["acc"] < 0.42  # four standard errors around a quarter
    assert {"acc/astronomy", "acc/anatomy"} <= {each.replace("mmlu_", "") for each in marks}


def test_what_cannot_be_had_is_said_in_one_sentence(tmp_path, monkeypatch):
    model, tokenizer = model_and_tokenizer()

    def ask(name: str, source: Path | None = None) -> None:
        run_harness(model, tokenizer, [name], sources={name: None if source is None else str(source)})

    with pytest.raises(BadInput, match=r"mmlu=.*no such file or folder; give the data of mmlu there"):
        ask("mmlu", tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"expected one file \*dev\*.jsonl in this folder, found none"):
        ask("mmlu", tmp_path / "empty")
    with pytest.raises(BadInput, match="has no dev and test questions of the subject 'astronomy'"):
        ask("mmlu_astronomy", mmlu(tmp_path / "mmlu"))
    jsonl(tmp_path / "mmlu" / "test.jsonl", [{"question": "?", "subject": "anatomy"}])
    with pytest.raises(BadInput, match=r"test\.jsonl:1: no field 'choices'; expected question"):
        ask("mmlu_anatomy", tmp_path / "mmlu")
    (tmp_path / "drop.json").write_text("{")
    with pytest.raises(BadInput, match=r"drop\.json is not JSON"):
        ask("drop", tmp_path / "drop.json")

    def offline(path, name):
        raise ConnectionError(f"Couldn't reach '{path}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(
        BadInput, match=r"data of gsm8k cannot be reached.*openai/gsm8k.*give local files as gsm8k=PATH"
    ):
        ask("gsm8k")
    small = lm_eval.tasks.TaskManager
    humaneval = Path(lm_eval.__file__).parent / "tasks" / "humaneval"
    monkeypatch.setattr(
        lm_eval.tasks,
        "TaskManager",  # not all fourteen thousand tasks
        lambda include_path=humaneval, include_defaults=False: small(
            include_path=include_path, include_defaults=False
        ),
    )
    with pytest.raises(
        BadInput, match=r"humanevil is no exam of stillroom and no task of lm-eval; did you mean humaneval\?"
    ):
        ask("humanevil")
    with pytest.raises(
        BadInput, match=r"humaneval of lm-eval runs code that the model writes, without a sandbox"
    ):
        ask("humaneval")


def test_other_tasks_take_copies_of_the_hub_only(tmp_path):
    with pytest.raises(
        BadInput, match=r"sciq=.* is no copy of a data set of the Hub \(it has no README\.md\)"
    ):
        exam("sciq", tmp_path)


def test_a_copy_of_the_hubs_repository_is_read_as_it_is(tmp_path, monkeypatch):
    asked = []

    def load(path, name):
        asked.append((path, name))
        return {split: datasets.Dataset.from_list([mmlu_row("anatomy", 1)] * 5) for split in ("dev", "test")}

    (tmp_path / "README.md").write_text("---\n---\n")
    monkeypatch.setattr(datasets, "load_dataset", load)
    exam("mmlu_anatomy", tmp_path)
    assert asked == [(str(tmp_path), "anatomy")]


def test_without_lm_eval_it_says_what_to_install(monkeypatch):
    model, tokenizer = model_and_tokenizer()
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(
        BadInput, match=r'mmlu is a task of lm-eval; install it with `pip install "stillroom\[eval\]"`'
    ):
        run_harness(model, tokenizer, ["mmlu"])
