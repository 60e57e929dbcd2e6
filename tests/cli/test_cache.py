"""`stillroom cache`, and training from what it wrote: the same curve without the teacher's weights."""

import json
import shutil
from pathlib import Path

import pytest
from folders import QUESTIONS, jsonl, model_folder

from stillroom.core.errors import BadInput
from stillroom.core.record import read_jsonl, read_summary, write_summary


@pytest.fixture(scope="module")
def place(world, tmp_path_factory) -> Path:
    """A recipe with three kinds of signals, and its cache."""
    root = tmp_path_factory.mktemp("cache")
    (root / "recipe.yaml").write_text(f"""
student: {{model: {world / "student"}}}
teacher: {{model: {world / "teacher"}, cache: {root / "cache"}, preflight: 'off'}}
data: {{train: {world / "data.jsonl"}, max_length: 64}}
objectives:
  - logits.forward_kl
  - {{use: logits.reverse_kl, top_k: 8, temperature: 2}}
  - {{use: attention.sharp, width: 64, rank_size: 16}}
training: {{max_steps: 3, logging_steps: 1, use_cpu: true, save_strategy: 'no'}}
evaluation: {{prompts: 0}}
output: {root / "run"}
""")
    return root


@pytest.fixture(scope="module")
def written(place) -> dict:
    from stillroom.api import cache
    from stillroom.recipe.load import load_recipe

    return vars(cache(load_recipe(place / "recipe.yaml"), shard_bytes=200_000))


@pytest.fixture
def no_teacher(monkeypatch):
    """Loading the teacher's weights is a failure."""
    from stillroom.recipe import build

    def refuse(choice):
        raise AssertionError("the teacher's weights were loaded")

    monkeypatch.setattr(build, "load_teacher", refuse)


CACHED = ("--set", "teacher.use=cached")


def losses(run: Path) -> dict[str, list[float]]:
    rows = [row for row in read_jsonl(run / "metrics.jsonl") if row["split"] == "train"]
    return {name: [row[name] for row in rows] for name in rows[0] if name.startswith("loss/")}


@pytest.mark.slow
def test_the_same_curve_without_the_weights(place, written, typed, tmp_path, monkeypatch, request):
    assert written["computed"] == written["samples"] == 40
    assert written["bytes_per_token"] > 0
    live = typed("distill", place / "recipe.yaml", "--output", tmp_path / "live", "--quiet")
    assert live.code == 0, live.err
    request.getfixturevalue("no_teacher")
    cached = typed("distill", place / "recipe.yaml", "--output", tmp_path / "cached", "--quiet", *CACHED)
    assert cached.code == 0, cached.err
    one, other = losses(tmp_path / "live"), losses(tmp_path / "cached")
    assert one.keys() == other.keys()
    for name, curve in one.items():
        assert other[name] == pytest.approx(curve, rel=2e-3), name
    summary = read_summary(tmp_path / "cached")
    assert summary.teacher == {}
    assert summary.models["teacher"]["cache"] == written["folder"]
    assert any("answers from the cache" in note for note in summary.notes)


@pytest.mark.slow
def test_a_stopped_run_goes_on_from_a_cache_that_was_moved(place, written, typed, tmp_path, no_teacher):
    shutil.copytree(place / "cache", tmp_path / "a")
    run = tmp_path / "run"
    words = ["distill", place / "recipe.yaml", "--output", run, "--quiet", *CACHED]
    words += [
        "--set",
        "training.save_strategy=steps",
        "--set",
        "training.save_total_limit=3",
        "--set",
        "training.save_steps=1",
        "--set",
    ]
    assert typed(*words, f"teacher.cache={tmp_path / 'a'}").code == 0
    before, summary = losses(run), read_summary(run)
    summary.exit = "stopped"
    write_summary(run, summary)
    shutil.rmtree(run / "checkpoint-3")
    shutil.move(tmp_path / "a", tmp_path / "b")
    done = typed(*words, f"teacher.cache={tmp_path / 'b'}", "--resume")
    assert done.code == 0, done.err
    assert read_summary(run).exit == "done"
    for name, curve in losses(run).items():
        assert curve == pytest.approx(before[name], rel=1e-5), name


def test_a_second_call_computes_nothing_and_loads_nothing(place, written, typed, no_teacher):
    done = typed("cache", place / "recipe.yaml", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["computed"] == 0
    assert "teacher.use=cached" in typed("cache", place / "recipe.yaml", "--quiet").out


def test_a_batch_has_at_least_one_sample(place):
    """From Python: with less, no sample would be computed, and the cache be called whole."""
    from stillroom.api import cache
    from stillroom.recipe.load import load_recipe

    with pytest.raises(BadInput, match="batch_size of at least 1, got -1"):
        cache(load_recipe(place / "recipe.yaml"), str(place / "none"), batch_size=-1)


def test_nothing_is_loaded_either_where_no_head_is_kept(place, world, typed, tmp_path, request):
    words = (
        "cache",
        place / "recipe.yaml",
        "--set",
        "objectives=[hidden.layerwise]",
        "--output",
        tmp_path / "c",
        "--json",
    )
    assert json.loads(typed(*words).out)["computed"] == 40
    request.getfixturevalue("no_teacher")
    done = typed(*words)
    assert done.code == 0, done.err
    assert json.loads(done.out)["computed"] == 0


def test_weights_that_are_downloaded_to_go_on_are_those_the_cache_was_begun_with(
    place, written, world, typed, tmp_path, monkeypatch
):
    from stillroom.recipe import build

    shutil.copytree(place / "cache", tmp_path / "cache")
    shutil.copytree(world / "teacher", tmp_path / "t")
    (tmp_path / "t" / "model.safetensors").unlink()
    other = model_folder(tmp_path / "other", seed=5, width=32)
    load, source = build.load_teacher, [other]

    def fetched(choice):
        shutil.copy(source[0] / "model.safetensors", tmp_path / "t")
        return load(choice)

    monkeypatch.setattr(build, "load_teacher", fetched)
    data = jsonl(tmp_path / "d.jsonl", [*QUESTIONS, {"instruction": "And now?", "output": "Something else."}])
    words = [f"teacher.model={tmp_path / 't'}", f"teacher.cache={tmp_path / 'cache'}", f"data.train={data}"]
    sets = [part for word in words for part in ("--set", word)]
    done = typed("cache", place / "recipe.yaml", "--quiet", *sets)
    assert done.code == 2, done.err
    assert "teacher.weights" in done.err
    (tmp_path / "t" / "model.safetensors").unlink()
    source[0] = world / "teacher"
    done = typed("cache", place / "recipe.yaml", "--json", *sets)
    assert done.code == 0, done.err
    assert json.loads(done.out)["computed"] == 1


def refused(place, typed, *words) -> str:
    done = typed("distill", place / "recipe.yaml", "--output", place / "never", "--quiet", *CACHED, *words)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert not (place / "never" / "student").exists()
    return done.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("data.max_length=60",), ("data.max_length", "written with 64", "has 60")),
        (("data.max_prompt_length=30",), ("data.max_prompt_length", "written with 32", "has 30")),
        (("data.train_on=everything",), ("data.train_on", "'responses'", "'everything'")),
        (("data.template=plain",), ("data.template", "'alpaca'", "'plain'")),
        (("teacher.dtype=bfloat16",), ("precision.weights", "'float32'", "'bfloat16'")),
        (("training.bf16=true",), ("precision.autocast", "'none'", "'bfloat16'")),
        (("objectives.2.rows=response",), ("requests", "rows='response'")),
        (("objectives.1.top_k=9",), ("requests", "TopTokens(k=9, temperature=2.0)")),
        (("objectives.1.temperature=1",), ("requests", "TopTokens(k=8, temperature=1.0)")),
        (("teacher.cache=./nowhere",), ("teacher.cache", "holds no cache")),
        (("teacher.cache=null",), ("teacher.cache", "missing")),
        (
            ("evaluation.metrics=[agreement]", "data.eval=DATA"),
            ("agreement", "held-out text", "teacher.use: live"),
        ),
    ],
)
def test_what_differs_is_named(place, written, world, typed, no_teacher, words, says):
    sets = [part for word in words for part in ("--set", word.replace("DATA", str(world / "data.jsonl")))]
    message = refused(place, typed, *sets)
    for part in says:
        assert part in message


def test_another_teacher_of_the_same_shape_is_refused(place, written, typed, tmp_path, no_teacher):
    other = model_folder(tmp_path / "t", seed=5, width=32)
    assert "teacher.weights" in refused(place, typed, "--set", f"teacher.model={other}")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    assert "teacher.config" in refused(place, typed, "--set", f"teacher.model={other}")


def test_weights_that_are_not_here_are_not_compared(place, written, world, typed, tmp_path, no_teacher):
    bare = tmp_path / "t"
    shutil.copytree(world / "teacher", bare)
    (bare / "model.safetensors").unlink()
    done = typed(
        "distill", place / "recipe.yaml", "--output", tmp_path / "run", *CACHED, "--set", f"teacher.model={bare}",
        "--max-steps", "1",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "weights of the teacher are not on this machine" in done.err


def test_a_sample_that_is_not_cached_is_named_before_training(place, written, typed, tmp_path, no_teacher):
    data = jsonl(tmp_path / "d.jsonl", [*QUESTIONS, {"instruction": "And now?", "output": "Something else."}])
    message = refused(place, typed, "--data", data)
    assert "sample 40 of the training data is not in the cache" in message


def test_a_damaged_shard_is_named_and_repaired(place, written, typed, tmp_path):
    shutil.copytree(place / "cache", tmp_path / "cache")
    shard = tmp_path / "cache" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    there = ("--set", f"teacher.cache={tmp_path / 'cache'}")
    message = refused(place, typed, *there)
    assert "shard-00000.safetensors is damaged" in message
    assert "--repair" in message
    assert typed("cache", place / "recipe.yaml", *there, "--quiet").code == 2
    done = typed("cache", place / "recipe.yaml", *there, "--repair", "--json")
    assert done.code == 0, done.err
    assert 0 < json.loads(done.out)["computed"] <= 40


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "teacher.cache=null"), "give --output, or teacher.cache"),
        (("--set", "objectives=[hard.cross_entropy]"), "read nothing of a teacher"),
        (("--set", "objectives=[hard.cross_entropy]", "--set", "teacher=null"), "teacher"),
        (("--output", "OTHER", "--precision", "int8"), "expected a precision of"),
        (("--output", __file__), "no cache can be written to"),
        (("--set", "objectives.1.top_k=9"), "requests"),
    ],
)
def test_what_cannot_be_cached_is_one_sentence(place, written, typed, tmp_path, no_teacher, words, says):
    words = [word.replace("OTHER", str(tmp_path / "c")) for word in words]
    done = typed("cache", place / "recipe.yaml", "--quiet", *words)
    assert done.code == 2, done.err
    assert says in done.err
