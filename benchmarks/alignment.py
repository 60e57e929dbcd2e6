"""How much of real text two tokenizers share, the published alignment beside it, and what aligning costs.

    STILLROOM_DATA=... python benchmarks/alignment.py           # into benchmarks/results/
    python benchmarks/alignment.py --responses 50 --repeats 2 --output /tmp/try

Text: responses of Dolly (the 500 test and the 1,000 dev rows that MiniLLM and DSKD use), and Article 1 of the
Universal Declaration of Human Rights in 28 languages. Costs are seconds of CPU time on one thread, the fastest repeat,
over the tokens of both sides; batches are padded, the responses in their order.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from declaration import ARTICLE_1
from measure import machine, save, versions

from stillroom.alignment.boundaries import namespace, shared_boundaries
from stillroom.alignment.byte_ends import ends_from_bytes
from stillroom.alignment.chunks import shared_chunks
from stillroom.alignment.compare import count_texts
from stillroom.alignment.positions import context_equal, exact_pairs
from stillroom.alignment.published import published_pairs
from stillroom.alignment.reader import Reader, Reading
from stillroom.recipe.models import load_tokenizer

DATA = Path(os.environ.get("STILLROOM_DATA", Path(__file__).parents[1] / "../shared/data"))
PAIRS = (  # teacher, student, context-equal ratio that is expected
    ("qwen1.5", "gpt2", 0.95),
    ("llama2", "gpt2", 0.98),
    ("mistral-7b-v0.1", "gpt2", None),
    ("mistral-7b-v0.1", "llama2", 0.94),
    ("llama2", "mistral-7b-v0.1", None),
    ("qwen1.5", "llama2", 0.86),
    ("gpt2", "qwen1.5", None),
    ("llama2", "qwen1.5", None),
)
COSTS = ("qwen1.5", "gpt2")
BATCH = 8


def dolly(limit: int | None) -> list[str]:
    rows: list[str] = []
    for name in ("minillm_test500.jsonl", "minillm_dev.jsonl"):
        for line in (DATA / "dolly" / name).read_text(encoding="utf-8").splitlines():
            output = json.loads(line)["output"]
            rows += [output] if isinstance(output, str) else output[:1]
    return rows[:limit]


def reader(name: str) -> Reader:
    tokenizer: Any = load_tokenizer(str(DATA / "tokenizers" / name), name)
    return Reader(tokenizer.backend_tokenizer.to_str())


def ratios(texts: Sequence[str], readers: dict[str, Reader]) -> list[dict[str, Any]]:
    rows = []
    for teacher, student, expected in PAIRS:
        found = count_texts(texts, readers[student], readers[teacher])
        rows.append({"teacher": teacher, "student": student, "expected": expected, "counts": vars(found)})
        rows[-1] |= found.ratios()
        print(json.dumps(rows[-1]), flush=True)
    return rows


def costs(texts: Sequence[str], student: Reader, teacher: Reader, repeats: int) -> dict[str, float]:
    """Tokens of both sides a second, by what is done."""
    ours, theirs = [student.read(text) for text in texts], [teacher.read(text) for text in texts]
    tokens = sum(len(each.ids) for each in (*ours, *theirs))
    encoded = [text.encode() for text in texts]
    arrays = [(padded(left), padded(right)) for left, right in batches(ours, theirs)]
    tensors = [(torch.from_numpy(left), torch.from_numpy(right)) for left, right in arrays]

    def byte_ends() -> None:
        for text, left, right in zip(encoded, ours, theirs, strict=True):
            ends_from_bytes(left.ids, text, student.table)
            ends_from_bytes(right.ids, text, teacher.table)

    def published() -> None:
        for left, right in zip(ours, theirs, strict=True):
            published_pairs(left.tokens, right.tokens)

    def read() -> None:
        for text in texts:
            student.read(text)
            teacher.read(text)

    steps: dict[str, Callable[[], None]] = {
        "byte ends of ids": byte_ends,
        f"alignment, NumPy, batches of {BATCH}": lambda: everything(arrays),
        f"alignment, PyTorch, batches of {BATCH}": lambda: everything(tensors),
        "published alignment by strings": published,
        "for comparison: both tokenizers and byte ends, text by text": read,
    }
    return {name: tokens / seconds(step, repeats) for name, step in steps.items()}


def batches(ours: Sequence[Reading], theirs: Sequence[Reading]) -> list[tuple[list[Reading], list[Reading]]]:
    starts = range(0, len(ours), BATCH)
    return [(list(ours[at : at + BATCH]), list(theirs[at : at + BATCH])) for at in starts]


def padded(readings: Sequence[Reading]) -> np.ndarray:
    rows = np.full((len(readings), max(len(each.ids) for each in readings)), -1, np.int64)
    for row, reading in zip(rows, readings, strict=True):
        row[: len(reading.ids)] = reading.ends
    return rows


def everything(sides: Sequence[tuple[Any, Any]]) -> None:
    """Boundaries, chunks, context-equal positions and exact pairs of all batches."""
    for student, teacher in sides:
        assert namespace(student) is namespace(teacher)
        texts = student >= 0, teacher >= 0
        shared = shared_boundaries(student, teacher)
        context_equal(shared, *texts)
        exact_pairs(shared_chunks(shared, *texts))


def seconds(step: Callable[[], None], repeats: int) -> float:
    """CPU seconds of the fastest repeat after a warm-up."""
    step()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def run(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    readers = {name: reader(name) for name in dict.fromkeys(name for pair in PAIRS for name in pair[:2])}
    texts = dolly(options.responses)
    teacher, student = COSTS
    return {
        "command": " ".join(["python", *sys.argv]),
        "device": machine(),
        "versions": versions("torch", "numpy", "transformers", "tokenizers"),
        "responses": len(texts),
        "dolly": ratios(texts, readers),
        "multilingual": ratios(list(ARTICLE_1.values()), readers),
        "costs": {
            "teacher": teacher,
            "student": student,
            "tokens_per_second": costs(texts, readers[student], readers[teacher], options.repeats),
        },
    }


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| teacher → student | context-equal | exact | published (ETA) | context-equal, of the side with fewer tokens "
        "| expected context-equal | dropped |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        shares = [row[name] for name in ("context_equal_ratio", "exact_ratio", "eta_ratio")]
        shares.append(max(row["context_equal_ratio"], row["teacher_context_equal_ratio"]))
        cells = [f"{share:.3f}" for share in shares]
        expected = f"≥ {row['expected']:.2f}" if row["expected"] else ""
        lines.append(
            f"| {row['teacher']} → {row['student']} | {' | '.join(cells)} | {expected} | {row['counts']['dropped']} |"
        )
    return lines


def page(result: dict[str, Any]) -> str:
    known = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    costs = result["costs"]
    multilingual = [row | {"expected": None} for row in result["multilingual"]]
    lines = [
        "# Two tokenizers on one text",
        "",
        f"{result['device']}. {known}.",
        "",
        f"`{result['command']}`",
        "",
        "Shares are of the student's tokens. Context-equal: the teacher, too, has a boundary where the token begins, "
        "so both models predict from the same bytes. Exact: the teacher has the very token. Published: exact token "
        "alignment as DSKD v2 does it, by strings.",
        "",
        f"{result['responses']:,} responses of Dolly:",
        "",
        *table(result["dolly"]),
        "",
        f"Article 1 of the Universal Declaration of Human Rights in {len(ARTICLE_1)} languages. No alignment can match "
        "more tokens than the coarser side has, and GPT-2 cuts most letters beyond Latin into single bytes, which "
        "others read at once: the fifth column is the share of what could be matched at all.",
        "",
        *table(multilingual),
        "",
        f"Costs, {costs['teacher']} → {costs['student']}, one thread:",
        "",
        "| step | tokens of both sides a second |",
        "|---|---:|",
        *(f"| {name} | {speed:,.0f} |" for name, speed in costs["tokens_per_second"].items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--responses", type=int, help="responses of Dolly (default: all 1,500)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    result = run(options)
    save(result, page(result), options.output, "alignment_cpu")


if __name__ == "__main__":
    main()
