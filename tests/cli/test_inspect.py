"""`stillroom inspect` on runs of a few steps."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from folders import QUESTIONS, jsonl, tiny_tokenizer
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from stillroom.core.errors import BadInput
from stillroom.core.inspection import Inspection, read_inspection

SMALL = ("--batches", 2, "--samples", 4, "--points", 3, "--directions", 1, "--quiet")


def recipe(world: Path, output: Path, **changed: object) -> Path:
    values = {
        "student": {"model": str(world / "student")},
        "teacher": {"model": str(world / "teacher"), "preflight": "off"},
        "data": {"train": str(world / "data.jsonl"), "eval": str(world / "data.jsonl"), "eval_limit": 4},
        "objectives": [
            {"use": "hard.cross_entropy", "weight": 0.5},
            {"use": "logits.forward_kl", "weight": 0.5},
        ],
        "training": {
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "save_steps": 2,
            "save_total_limit": 9,
            "logging_steps": 1,
            "eval_steps": 2,
            "learning_rate": 0.01,
            "use_cpu": True,
        },
        "evaluation": {"prompts": 0},
        "output": str(output),
        **changed,
    }
    path = output.parent / f"{output.name}.yaml"
    path.write_text(json.dumps(values))
    return path


@pytest.fixture(scope="session")
def trained(world, tmp_path_factory) -> Path:
    """A run with checkpoints at steps 2 and 4."""
    from stillroom.api import run
    from stillroom.recipe.load import load_recipe

    folder = tmp_path_factory.mktemp("trained") / "run"
    run(load_recipe(recipe(world, folder)))
    return folder


def found(folder: Path) -> Inspection:
    read = read_inspection(folder / "inspection.json")
    assert read is not None
    return read


@pytest.mark.slow
def test_a_run_is_looked_at_from_its_start_to_its_end(trained, typed):
    done = typed("inspect", trained, "--reach", 100, *SMALL)
    assert done.code == 0, done.err
    assert "1 - cos" in done.out
    seen = found(trained)
    assert seen.steps == 4
    assert seen.interference is not None
    assert [(each.place.name, each.place.share) for each in seen.interference.places] == [
        ("start", 0.0),
        ("step 2", 0.5),
        ("end", 1.0),
    ]
    pairs = [each.groups["all"][0] for each in seen.interference.places]
    assert all(pair.batches == 2 for pair in pairs)
    assert len({pair.cosine for pair in pairs}) == 3  # three students, not one
    assert seen.landscape is not None
    assert seen.landscape.interpolation is not None
    middle = seen.landscape.directions[0].losses[1]
    summary = json.loads((trained / "run.json").read_text())
    assert middle == pytest.approx(summary["final"]["loss"], rel=1e-5)
    assert seen.landscape.interpolation.losses[0] == pytest.approx(summary["baseline"]["loss"], rel=1e-5)
    assert seen.landscape.interpolation.losses[-1] == pytest.approx(middle, rel=1e-5)
    assert seen.reach is not None
    assert seen.reach.step == 0
    assert typed("report", trained).code == 0
    assert "Inside the training" in (trained / "report.html").read_text()


@pytest.mark.slow
def test_one_part_alone_keeps_the_others_and_answers_stay_the_same(trained, typed):
    assert typed("inspect", trained, "--only", "interference", *SMALL).code == 0
    before = found(trained)
    assert typed("inspect", trained, "--only", "landscape", *SMALL).code == 0
    assert found(trained).interference == before.interference
    assert typed("inspect", trained, "--only", "interference", *SMALL).code == 0
    assert found(trained).interference == before.interference


@pytest.mark.slow
def test_the_order_of_the_words_changes_nothing(trained, typed):
    """What goes to the end of training must not leave the student there for what begins at the start."""
    assert typed("inspect", trained, "--only", "features,interference", *SMALL).code == 0
    before = found(trained).interference
    assert typed("inspect", trained, "--only", "interference", *SMALL).code == 0
    assert found(trained).interference == before


@pytest.mark.slow
def test_an_edited_recipe_is_looked_at_anew(world, tmp_path, typed):
    path = recipe(world, tmp_path / "edited")
    assert typed("inspect", path, "--only", "interference", *SMALL).code == 0
    path = recipe(world, tmp_path / "edited", objectives=["hard.cross_entropy"], teacher=None)
    assert typed("inspect", path, "--only", "features", *SMALL).code == 0
    assert found(tmp_path / "edited").interference is None


@pytest.mark.slow
def test_features_that_are_not_projected_have_no_control(world, tmp_path, typed):
    objective = {"use": "attention.sharp", "rank_space": "none"}
    path = recipe(world, tmp_path / "plain", objectives=["hard.cross_entropy", objective])
    done = typed("inspect", path, "--only", "features", *SMALL)
    assert done.code == 0, done.err
    assert "Nothing is projected" in " ".join(done.out.split())
    features = found(tmp_path / "plain").features
    assert features is not None
    assert {each.space for each in features[0].separations} == {"before projection"}


@pytest.mark.slow
def test_a_recipe_is_looked_at_before_it_is_run(world, tmp_path, typed):
    path = recipe(world, tmp_path / "new")
    done = typed("inspect", path, "--only", "interference", *SMALL)
    assert done.code == 0, done.err
    seen = found(tmp_path / "new")
    assert seen.interference is not None
    assert [each.place.name for each in seen.interference.places] == ["start"]
    assert "has not been run" in done.out
    assert typed("distill", path, "--quiet", "--set", "training.max_steps=1").code == 0


@pytest.mark.slow
def test_a_single_term_has_nothing_to_compare_with(world, tmp_path, typed):
    path = recipe(world, tmp_path / "one", objectives=["hard.cross_entropy"], teacher=None)
    done = typed("inspect", path, "--only", "interference,features", *SMALL)
    assert done.code == 0, done.err
    assert "hard.cross_entropy/cross_entropy is the only term" in " ".join(done.out.split())
    assert "No objective of this run shows features" in " ".join(done.out.split())
    assert found(tmp_path / "one").interference is None


@pytest.mark.slow
def test_against_another_run(trained, typed, tmp_path):
    output = tmp_path / "elsewhere.json"
    done = typed("inspect", trained, "--only", "features", "--against", trained, "--output", output, *SMALL)
    assert done.code == 0, done.err
    seen = read_inspection(output)
    assert seen is not None
    assert seen.reach is not None
    assert seen.reach.step == seen.reach.rival_step == pytest.approx(4)


@pytest.mark.slow
def test_adapters_are_found_again(world, tmp_path, typed):
    pytest.importorskip("peft")
    settings = {"model": str(world / "student"), "lora": {"r": 2}}
    path = recipe(world, tmp_path / "lora", student=settings)
    assert typed("distill", path, "--quiet").code == 0
    done = typed("inspect", tmp_path / "lora", "--only", "landscape", *SMALL)
    assert done.code == 0, done.err
    seen = found(tmp_path / "lora").landscape
    assert seen is not None
    final = json.loads((tmp_path / "lora" / "run.json").read_text())["final"]["loss"]
    assert seen.directions[0].losses[1] == pytest.approx(final, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--points", 4),
            "--points: expected an odd number of at least 3, with the student in the middle, got 4",
        ),
        (
            ("--only", "gradients"),
            "--only: expected some of interference, features, heads, landscape, got 'gradients'",
        ),
        (
            ("--only", "features", "--layer", 1),
            "--sentence and --layer are about maps of heads, which --only leaves out; add heads to it",
        ),
        (("--reach", "nan"), "--reach: expected a finite loss, got nan"),
        (("--reach", 2, "--against", "x"), "--against and --reach both name a target loss; give one of them"),
        (("--against", "nowhere"), "nowhere is not a run folder"),
    ],
)
def test_bad_words_are_one_sentence(trained, typed, words, sentence):
    done = typed("inspect", trained, *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {sentence}")
    assert done.err.count("\n") == 1


def test_what_is_not_there_or_has_been_run(trained, world, typed, tmp_path):
    missing = typed("inspect", tmp_path / "nothing")
    assert missing.err == (
        f"error: expected a run folder or a recipe file to inspect, but there is no {tmp_path / 'nothing'}\n"
    )
    assert "is not a run folder" in typed("inspect", tmp_path).err
    been_run = typed("inspect", recipe(world, trained))
    assert been_run.code == 2
    assert f"has been run: inspect its folder {trained}" in been_run.err
    unrun = typed("inspect", recipe(world, tmp_path / "r"), "--reach", 2)
    assert "the recipe has not been run" in unrun.err


@pytest.mark.slow
def test_changed_text_is_said(world, tmp_path, typed):
    data = jsonl(tmp_path / "text.jsonl", QUESTIONS)
    path = recipe(world, tmp_path / "changed", data={"train": str(data)})
    assert typed("distill", path, "--quiet", "--set", "training.max_steps=1").code == 0
    jsonl(data, QUESTIONS[::-1])
    done = typed("inspect", tmp_path / "changed", "--only", "interference", *SMALL)
    assert done.code == 0, done.err
    assert "The train text has changed since the run" in " ".join(done.out.split())


@pytest.mark.slow
def test_sharp_shows_its_features(world, tmp_path, typed):
    path = recipe(world, tmp_path / "sharp", objectives=["hard.cross_entropy", "attention.sharp"])
    done = typed("inspect", path, "--only", "features,interference", *SMALL)
    assert done.code == 0, done.err
    seen = found(tmp_path / "sharp")
    assert seen.features is not None
    shown = seen.features[0]
    assert (shown.objective, shown.granularities) == ("attention.sharp", ["token", "head", "layer"])
    assert [(each.side, each.space) for each in shown.separations] == [
        (side, f"{space} projection") for side in ("student", "teacher") for space in ("before", "after")
    ]
    assert all(-1 <= each.silhouette <= 1 for each in shown.separations)
    assert seen.interference is not None
    assert "attention.sharp/token" in seen.interference.terms
    assert "unrelated random projections" in " ".join(done.out.split())


@pytest.fixture(scope="session")
def narrow(tmp_path_factory) -> Path:
    """A student of two heads beside the teacher's four."""
    root = tmp_path_factory.mktemp("narrow") / "student"
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(root)
    tokenizer.save_pretrained(root)
    return root


@pytest.mark.slow
def test_squeezed_heads_show_shares_and_maps(world, narrow, tmp_path, typed):
    student = {"model": str(narrow)}
    path = recipe(world, tmp_path / "heads", student=student, objectives=["attention.squeeze_heads"])
    assert typed("distill", path, "--quiet", "--set", "training.max_steps=1").code == 0
    done = typed("inspect", tmp_path / "heads", "--only", "heads", *SMALL)
    assert done.code == 0, done.err
    assert "one head alone" in done.out
    (seen,) = found(tmp_path / "heads").heads or []
    assert (seen.objective, seen.samples, seen.place.name) == ("attention.squeeze_heads", 4, "end")
    assert [(each.layer, each.partner, len(each.merges)) for each in seen.layers] == [(1, 1, 2), (2, 2, 2)]
    assert all(0 <= each.lost["own shares"] <= each.lost["equal shares"] for each in seen.layers)
    assert seen.sentence is not None
    assert seen.sentence.source == "the first held-out text"
    assert [each.layer for each in seen.sentence.layers] == [1, 2]
    for head in seen.sentence.layers[0].heads:
        assert len(head.student) == len(seen.sentence.tokens)
        totals = [sum(map(int, row.split())) for row in head.merged]
        assert totals == pytest.approx([1000] * len(totals), abs=15)
    words = ("--sentence", "what is the name", "--layer", 2)
    assert typed("inspect", tmp_path / "heads", "--only", "heads", *words, *SMALL).code == 0
    sentence = found(tmp_path / "heads").heads[0].sentence
    assert sentence.source == "the sentence that was given"
    assert "".join(sentence.tokens) == "whatisthename"
    assert [each.layer for each in sentence.layers] == [2]
    refused = typed("inspect", tmp_path / "heads", "--only", "heads", "--layer", 3, *SMALL)
    assert refused.err.endswith(
        "error: --layer: expected layers of the student that are compared, 1, 2, got 3\n"
    )
    refused = typed("inspect", tmp_path / "heads", "--only", "heads", "--sentence", "", *SMALL)
    assert "--sentence: expected a text of at least 2 tokens" in refused.err


@pytest.mark.slow
def test_a_run_that_merges_nothing_says_so(trained, typed, tmp_path):
    done = typed("inspect", trained, "--only", "heads", "--output", tmp_path / "i.json", *SMALL)
    assert done.code == 0, done.err
    assert "No objective of this run merges heads" in " ".join(done.out.split())


@pytest.mark.slow
def test_what_is_not_finite_is_no_target_and_no_measure(trained, world, typed, tmp_path):
    other = shutil.copytree(trained, tmp_path / "other")
    with (other / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps({"step": 4, "split": "train", "measure/a": float("nan"), "measure/b": 0.5}) + "\n"
        )
    summary = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(summary | {"final": {"loss": float("nan")}}))
    refused = typed("inspect", trained, "--against", other)
    assert "has no final held-out loss to reach" in refused.err
    assert typed("inspect", other, "--only", "features", *SMALL).code == 0
    assert found(other).measures == {"b": 0.5}
    summary["data"]["eval"]["sha256"] = "0"
    (other / "run.json").write_text(json.dumps(summary))
    refused = typed("inspect", trained, "--against", other)
    assert refused.code == 2
    assert "was evaluated on other held-out text" in refused.err


@pytest.mark.slow
def test_parts_of_other_objectives_are_one_sentence(trained, typed, tmp_path):
    other = shutil.copytree(trained, tmp_path / "other")
    save_file({"0.matrix": torch.zeros(2)}, other / "objective.safetensors")
    refused = typed("inspect", other, "--only", "features", *SMALL)
    assert refused.code == 2
    assert "does not fit the objectives that its recipe builds" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("counts", [{"batches": 0}, {"samples": 1}, {"directions": 0}])
def test_counts_from_python_are_checked_too(trained, counts):
    from stillroom.api import inspect

    with pytest.raises(BadInput, match="expected at least"):
        inspect(trained, **counts)
