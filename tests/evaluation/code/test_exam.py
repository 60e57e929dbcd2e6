import json
import os
import sys
from pathlib import Path

import pytest
from folders import tiny_tokenizer
from tiny import tiny_llama

from stillroom.core.errors import BadInput
from stillroom.evaluation.code import exam
from stillroom.evaluation.code._landlock import landlock_version
from stillroom.evaluation.code._seccomp import seccomp_possible
from stillroom.evaluation.code.exam import run_code_exam
from stillroom.evaluation.code.mark import run_programs
from stillroom.evaluation.code.outcome import Limits
from stillroom.evaluation.code.tasks import code_tasks
from stillroom.evaluation.generation import Generations

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[4] / "shared" / "data"))
MBPP = DATA / "code" / "mbpp.jsonl"

jailed = pytest.mark.skipif(
    not (sys.platform == "linux" and landlock_version() and seccomp_possible()),
    reason="this kernel has no Landlock or no seccomp, so generated code is refused here",
)


@pytest.fixture(scope="module")
def humaneval(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "humaneval.jsonl"
    rows = [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": f"def add{n}(a):\n",
            "canonical_solution": f"    return a + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}",
            "entry_point": f"add{n}",
        }
        for n in range(4)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.fixture(scope="module")
def pair():
    tokenizer = tiny_tokenizer()
    return tiny_llama(1, vocab_size=len(tokenizer)), tokenizer


def writes(monkeypatch, texts, seen=None):
    def generate(model, prompts, tokenizer, **settings):
        if seen is not None:
            seen.update(settings, prompts=prompts)
        return Generations(texts, 0, 0.0)

    monkeypatch.setattr(exam, "generate", generate)


@jailed
def test_marks_count_what_passes(monkeypatch, pair, humaneval):
    texts = [
        "    return a\n",
        "    return a + 0\n",
        "    return a + 1\n\ndef more(",
        "    return 1",
        "    exit()",
        "    return",
        "    return a + 3",
        "    return 3 + a\nprint(1)",
    ]
    seen, told = {}, []
    writes(monkeypatch, texts, seen)
    marks, samples = run_code_exam(
        *pair, "humaneval", humaneval, allow=True, samples_per_task=2, ks=(1, 2), sampling_temperature=0.8,
        max_new_tokens=16, progress=lambda done, total, detail="": told.append((done, total, detail)),
    )  # fmt: skip
    assert marks["pass@1"] == pytest.approx(100 * (1 + 0.5 + 0 + 1) / 4)
    assert marks["pass@2"] == pytest.approx(100 * 3 / 4)
    assert (marks["outcome/passed"], marks["outcome/failed assertion"], marks["outcome/error"]) == (5, 2, 1)
    assert marks["prompts_cut"] == 0
    assert told[-1] == (8, 8, "running them")
    assert len(seen["prompts"]) == 8
    assert samples[2] == {
        "task": "HumanEval/1",
        "prompt": "def add1(a):\n",
        "reference": "    return a + 1\n",
        "text": "    return a + 1\n",
        "outcome": "passed",
        "detail": "",
    }
    assert samples[4]["detail"].startswith("NameError")  # exit() is a thing of the interactive Python


@jailed
def test_a_model_without_talent_scores_zero(pair, humaneval):
    model, tokenizer = pair
    marks, samples = run_code_exam(
        model, tokenizer, "humaneval", humaneval, allow=True, max_new_tokens=4, limit=2
    )
    assert marks["pass@1"] == 0
    assert len(samples) == 2


@jailed
def test_a_prompt_that_does_not_fit_keeps_its_end_and_is_counted(monkeypatch, pair, humaneval):
    model, tokenizer = pair
    positions = model.config.max_position_embeddings
    whole = tokenizer("def add0(a):\n")["input_ids"]
    seen = {}
    writes(monkeypatch, [""] * 4, seen)
    marks, _ = run_code_exam(
        model, tokenizer, "humaneval", humaneval, allow=True, max_new_tokens=positions - 3
    )
    assert marks["prompts_cut"] == 4
    assert seen["prompts"][0].ids == whole[-3:]
    with pytest.raises(BadInput, match="leave none for the task"):
        run_code_exam(model, tokenizer, "humaneval", humaneval, allow=True, max_new_tokens=positions)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"allow": False}, "--allow-code-execution"),
        ({"ks": (2,)}, "at least k programs"),
        ({"ks": ()}, "at least k programs"),
        ({"samples_per_task": 2}, "would all be the same"),
        ({"limit": 0}, "limit must be"),
        ({"timeout": 0}, "timeout must be"),
    ],
)
def test_settings_are_checked_before_anything_is_run(monkeypatch, pair, humaneval, settings, sentence):
    monkeypatch.setattr(exam, "require_sandbox", lambda **_: pytest.fail("too late"))
    with pytest.raises(BadInput, match=sentence):
        run_code_exam(*pair, "humaneval", humaneval, **{"allow": True, **settings})


@jailed
@pytest.mark.skipif(not MBPP.exists(), reason="MBPP is not here")
def test_known_solutions_of_mbpp_pass_and_do_not_pass_for_each_other():
    tasks = code_tasks("mbpp", str(MBPP))[:24]
    right = run_programs([task.program(task.solution) for task in tasks], Limits())
    assert [each.kind for each in right] == ["passed"] * 24
    others = run_programs(
        [task.program(other.solution) for task, other in zip(tasks[:8], tasks[8:], strict=False)]
    )
    assert "passed" not in [each.kind for each in others]
