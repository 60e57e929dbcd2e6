"""What became of the claims of a paper, as JSON for programs and as a page for people."""

import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["holds", "holds in part", "false", "cannot be tested from the paper"]


@dataclass(frozen=True)
class Finding:
    name: str
    claim: str
    """What the paper says, and where."""
    verdict: Verdict
    sentence: str
    """What came out, in words and numbers."""
    numbers: dict[str, Any]
    """The same for programs; a list of rows under `table` is printed as a table."""


Found = dict[str, list[Finding]]
"""By kind of claim."""


def write(found: Found, stem: Path, *, title: str, command: str, about: str) -> None:
    """`stem`.json and `stem`.md."""
    known = {package: importlib.metadata.version(package) for package in ("torch", "transformers")}
    content = {
        "command": command,
        "versions": known,
        "findings": {
            each.name: {"kind": kind} | asdict(each) for kind, some in found.items() for each in some
        },
    }
    versions = ", ".join(f"{package} {version}" for package, version in known.items())
    head = [f"# {title}", "", f"`{command}`", "", f"{about} {versions}.", ""]
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    stem.with_suffix(".md").write_text("\n".join(head) + page(found))


def page(found: Found) -> str:
    lines: list[str] = []
    for kind, findings in found.items():
        lines += ["", f"## {kind}", "", "| | the paper | here | verdict |", "|---|---|---|---|"]
        lines += [f"| {f.name} | {cell(f.claim)} | {cell(f.sentence)} | {f.verdict} |" for f in findings]
        for finding in findings:
            if "table" in finding.numbers:
                lines += ["", f"{finding.name}:", "", *grid(finding.numbers["table"])]
    return "\n".join(lines) + "\n"


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
