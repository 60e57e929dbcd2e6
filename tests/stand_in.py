"""A comparison of two variants, and processes that stand in for training and for exams."""

import sys

import yaml

BASE = {
    "student": {"model": "${assets}/python_docs/student", "init": "random"},
    "teacher": {"model": "${assets}/python_docs/teacher"},
    "data": {"train": "python-docs", "template": "plain"},
    "training": {"max_steps": 20, "learning_rate": 1e-3},
    "evaluation": {"prompts": 0},
}
PLAN = {
    "about": "A check.",
    "base": BASE,
    "against": "KD",
    "seeds": [10, 11, 12],
    "variants": {
        "hard labels": {"objectives": ["hard.cross_entropy"]},
        "KD": {"objectives": ["logits.forward_kl"]},
    },
}
TRAINING = """
import json, os, signal, sys, time, yaml
recipe = yaml.safe_load(open(sys.argv[1]))
folder, seed, training = recipe["output"], recipe["seed"], recipe["training"]
with open(os.path.join(os.path.dirname(folder), "made.txt"), "a") as made:
    made.write(os.path.basename(folder) + sys.argv[2].replace("--resume", "+").replace("--overwrite", "") + "\\n")
use = recipe["objectives"][0]["use"]
if use == "logits.renyi":
    sys.exit("starting\\n\\n\x1b[31merror: it broke\x1b[0m\\n")
if use == "logits.jensen_shannon":
    os.kill(os.getpid(), signal.SIGKILL)
if use == "logits.reverse_kl":
    time.sleep(60)
if sys.argv[2] == "--resume" and os.path.exists(folder + "/checkpoint-5/broken"):
    sys.exit("error: --resume: the text changed")
os.makedirs(folder, exist_ok=True)
loss = {"hard.cross_entropy": 5.0, "logits.forward_kl": 4.0}[use] + 0.1 * seed + abs(training["learning_rate"] - 2e-3)
tokens = 1000 + training["max_steps"] + 10 * seed
rows = [{"step": s, "tokens": tokens * s // 20, "seconds": s / 2, "split": "eval", "loss": loss + (20 - s) / 10}
        for s in (0, 10, 20)]
rows.append({"step": 20, "tokens": tokens, "seconds": 10, "split": "train", "loss": 1, "measure/a/b": seed / 10})
open(folder + "/metrics.jsonl", "w").writelines(json.dumps(row) + "\\n" for row in rows)
yaml.safe_dump(recipe, open(folder + "/recipe.yaml", "w"))
marks = {"loss": 3.0} if recipe["evaluation"]["baselines"] else {}
if recipe["evaluation"]["prompts"]:
    texts = {"prompt": "p", "reference": "r", "student": use} | ({"teacher": "t", "baseline": "b"} if marks else {})
    open(folder + "/samples.jsonl", "w").write(json.dumps(texts) + "\\n")
summary = {"name": use, "exit": "done", "final": {"loss": loss, "agreement": 1 / loss}, "teacher": marks,
           "baseline": marks, "steps": 20, "tokens": tokens, "seconds": 10.0, "tokens_per_second": 100.0,
           "peak_memory_bytes": 2**20, "seed": seed, "versions": {"torch": "2"}}
json.dump(summary, open(folder + "/run.json", "w"))
"""
EXAM = """
import json, sys
from pathlib import Path
words = sys.argv[1:]
model, output = words[0], Path(words[words.index("--output") + 1])
names = [words[i + 1].partition("=")[0] for i, word in enumerate(words) if word == "--on"]
at = output.parent.parent if output.parent.parent.name != "marks" else output.parent.parent.parent
with open(at / "sat.txt", "a") as sat:
    sat.write(output.parent.name + "\\n")
if "--limit" in words and words[words.index("--limit") + 1] == "13":
    sys.exit("error: no such exam")
run = output.parent / "run.json"
score = json.loads(run.read_text())["final"]["loss"] if run.exists() else 1.0
exams = {name: {"rouge_l": 10 - score, "loss": score, "rouge_l/seed10": 1.0, "documents": 3.0}
         for name in names}
notes = [f"{name}: 1 of 3 prompts was cut." for name in names]
output.write_text(json.dumps({"model": model, "protocol": {"name": "clean"}, "exams": exams, "notes": notes}))
rows = [{"exam": n, "prompt": f"{n} {i}", "reference": "r", "text": model[-4:]} for n in names for i in range(9)]
output.with_suffix(".samples.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
"""


def train(recipe, resume=False):
    """In the place of `stillroom.compare.execute.command`."""
    return [sys.executable, "-c", TRAINING, str(recipe), "--resume" if resume else "--overwrite"]


def written(folder, **changes):
    """The comparison above with other keys, as a file."""
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN | changes, sort_keys=False))
    return path
