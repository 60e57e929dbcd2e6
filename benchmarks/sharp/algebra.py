"""Every claim of the SHARP paper that can be checked without training a language model, checked.

    python benchmarks/sharp/algebra.py

Float64 on one CPU thread, fixed seeds, under two minutes. The claims stand in `claims/`, one file per kind; the
reading of them in docs/papers/sharp.md. Writes results/sharp_algebra.json and .md.
"""

import argparse
import importlib.metadata
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from claims import costs, frames, gradients, libraries, maps, tables
from claims.finding import Finding

KINDS = {
    "Projections and orthogonality": frames,
    "Pooled attention": maps,
    "Gradient interference": gradients,
    "Tables": tables,
    "Cost and capacity": costs,
    "Libraries": libraries,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[1] / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for title, kind in KINDS.items():
        start = time.perf_counter()
        found[title] = kind.findings()
        print(f"{title}: {len(found[title])} claims, {time.perf_counter() - start:.1f} s")
    options.output.mkdir(parents=True, exist_ok=True)
    content = json.dumps(record(found), indent=1) + "\n"
    (options.output / "sharp_algebra.json").write_text(content)
    (options.output / "sharp_algebra.md").write_text(page(found))


def record(found: dict[str, list[Finding]]) -> dict[str, Any]:
    return {
        "command": "python benchmarks/sharp/algebra.py",
        "versions": versions(),
        "findings": {
            finding.name: {"kind": title} | asdict(finding)
            for title, findings in found.items()
            for finding in findings
        },
    }


def versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in ("torch", "transformers")}


def page(found: dict[str, list[Finding]]) -> str:
    known = ", ".join(f"{package} {version}" for package, version in versions().items())
    lines = ["# SHARP: what algebra and small numbers say", "", "`python benchmarks/sharp/algebra.py`", ""]
    lines += [f"Float64, one CPU thread, {known}. What it means: docs/papers/sharp.md.", ""]
    for title, findings in found.items():
        lines += [f"## {title}", "", "| | the paper | here | verdict |", "|---|---|---|---|"]
        lines += [f"| {f.name} | {cell(f.claim)} | {cell(f.sentence)} | {f.verdict} |" for f in findings]
        lines.append("")
        for finding in findings:
            if "table" in finding.numbers:
                lines += [f"{finding.name}:", "", *grid(finding.numbers["table"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def grid(rows: list[dict[str, Any]]) -> list[str]:
    """Rows with the same keys as a Markdown table."""
    titles = list(rows[0])
    head = ["| " + " | ".join(map(cell, titles)) + " |"]
    head.append("|" + "|".join("---" if isinstance(rows[0][key], str) else "--:" for key in titles) + "|")
    return head + ["| " + " | ".join(shown(row[key]) for key in titles) + " |" for row in rows]


def shown(value: float | int | str | None) -> str:
    match value:
        case None:
            return "—"
        case float():
            return f"{value:.4g}" if value == 0 or abs(value) >= 1e-3 else f"{value:.1e}"
        case _:
            return cell(str(value))


def cell(text: str) -> str:
    """Text inside a table: a bar would end the column."""
    return text.replace("|", "\\|").strip()


if __name__ == "__main__":
    main()
