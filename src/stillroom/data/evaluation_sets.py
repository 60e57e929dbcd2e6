"""Evaluation sets by the names that papers use: where they lie, what their columns mean, what they lack.

Hub names are those the papers' repositories give. A local file of the same set may stand in for any of them, with the
columns named here or those of `data.columns`. A set without references has questions only; its samples come with an
empty response.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from stillroom.core.errors import BadInput
from stillroom.data.columns import INPUTS, RESPONSES, Samples, to_samples
from stillroom.data.sources import Records, Row, read_records

SUMMARIZE = "Summarize the following dialogue."
QUESTION_COLUMNS = ("instruction", "Instruction", "prompt", "question", "text")


@dataclass(frozen=True)
class EvaluationSet:
    """One published set."""

    name: str
    about: str
    hub: str | None
    """Data set of the Hub, "owner/name" or "owner/name:config"; None where there is none to be relied on."""
    split: str = "test"
    rows: int | None = None
    """Records of the published set, to notice another one under its name."""
    first: int | None = None
    """How many of its first records papers use; None for all."""
    has_references: bool = True
    instruction: str | None = None
    """What is asked where the columns hold only what it is about."""
    input_columns: tuple[str, ...] = INPUTS
    reference_columns: tuple[str, ...] = RESPONSES
    merges: bool = False
    """Whether records that ask the same are one question with several references."""


SETS: Mapping[str, EvaluationSet] = {
    each.name: each
    for each in (
        EvaluationSet("dolly", "DollyEval: held-out Dolly questions of MiniLLM", "MiniLLM/dolly", rows=500),
        EvaluationSet("self_inst", "SelfInst: user-oriented instructions", "MiniLLM/self-inst", rows=242),
        EvaluationSet(
            "vicuna", "VicunaEval: open questions, answers by a large model", "MiniLLM/Vicuna", rows=80
        ),
        EvaluationSet(
            "sni",
            "S-NI: Super-NaturalInstructions, references of 11 tokens or more",
            "MiniLLM/sinst:11_",
            rows=1694,
        ),
        EvaluationSet(
            "unni",
            "UnNI: Unnatural Instructions, references of 11 tokens or more",
            "MiniLLM/uinst:11_",
            first=10_000,
        ),
        EvaluationSet(
            "dialogsum",
            "DialogSum: summaries of dialogues, three references each",
            "knkarthick/dialogsum",
            rows=1500,
            instruction=SUMMARIZE,
            input_columns=("dialogue", "input"),
            reference_columns=("summary", "summary1", "summary2", "summary3", "output"),
            merges=True,
        ),
        EvaluationSet(
            "koala",
            "Koala: real user questions",
            "arnav-gudibande/koala-test-set",
            rows=180,
            has_references=False,
        ),
        EvaluationSet(
            "wizardlm", "WizardLM Evol-Instruct test questions", None, rows=218, has_references=False
        ),
        EvaluationSet(
            "alpaca_eval",
            "AlpacaEval questions",
            "tatsu-lab/alpaca_eval",
            split="eval",
            rows=805,
            has_references=False,
        ),
    )
}


def read_evaluation_set(chosen: EvaluationSet, source: str | None = None) -> tuple[Samples, list[str]]:
    """The samples of a set, from the Hub or from `source` (a file or another Hub name), and notes on them.

    `BadInput` where it cannot be read, or where a record has no question, or no reference though the set has them.
    """
    place = source or chosen.hub
    if place is None:
        raise BadInput(f"{chosen.name} has no Hub name to be relied on; give a file: {chosen.name}=PATH.")
    records = read_records(place, chosen.split)
    notes = []
    if chosen.rows is not None and len(records) != chosen.rows:
        notes.append(
            f"{chosen.name}: {records.source} has {len(records)} records, the published set {chosen.rows}."
        )
    kept = replace(records, rows=records.rows[: chosen.first], places=records.places[: chosen.first])
    known = chosen.name in SETS
    samples = to_samples(replace(kept, rows=list(_plain_rows(kept, chosen))) if known else kept)
    return (_merged(samples) if chosen.merges else samples), notes


def _plain_rows(records: Records, chosen: EvaluationSet) -> Iterator[Row]:
    """Every record as instruction, input and output, the names that `columns` reads."""
    for place, row in zip(records.places, records.rows, strict=True):
        question = chosen.instruction or _first(row, QUESTION_COLUMNS, place)
        about = next((row[name] for name in chosen.input_columns if row.get(name)), "")
        if chosen.instruction and not about:
            _first(row, chosen.input_columns, place)
        yield {"instruction": question, "input": about, "output": _references(row, chosen, place)}


def _references(row: Row, chosen: EvaluationSet, place: str) -> list[str] | str:
    if not chosen.has_references:
        return ""
    found: list[str] = []
    for name in chosen.reference_columns:
        value = row.get(name)
        found += value if isinstance(value, list) else [value] if value is not None else []
    return found or _first(row, chosen.reference_columns, place)


def _first(row: Row, names: tuple[str, ...], place: str) -> str:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    near = [match for name in names for match in difflib.get_close_matches(name, row, n=1)]
    hint = f"; did you mean {names[0]!r} by {near[0]!r}?" if near else "."
    raise BadInput(
        f"{place}: no column {' or '.join(names)} among {', '.join(map(repr, row)) or 'none'}{hint}"
    )


def _merged(samples: Samples) -> Samples:
    """Samples that ask the same become the first of them, with the references of all in their order."""
    references: dict[str, dict[str, None]] = {}
    firsts = {}
    for sample in samples:
        text = sample.question.text
        firsts.setdefault(text, sample)
        references.setdefault(text, {}).update(dict.fromkeys(sample.references))
    merged = [replace(firsts[text], references=tuple(known)) for text, known in references.items()]
    return replace(samples, samples=merged)
