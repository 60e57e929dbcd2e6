"""What `stillroom inspect` found, for a terminal: a table of pairs of terms and the sentences of the page."""

from pathlib import Path
from typing import TYPE_CHECKING

from stillroom.core.inspection import Heads, Interference, read_inspection
from stillroom.report.heads import (
    TITLES,
    everywhere,
    heads_sentence,
    lost_everywhere,
    medians,
)
from stillroom.report.inspection import (
    features_sentence,
    interference_sentence,
    landscape_sentence,
    reach_sentence,
)
from stillroom.report.numbers import cosine, fixed, percent

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def inspection_tables(path: Path) -> "list[Table | Text]":
    """What to print, one after another."""
    from rich.text import Text

    found = read_inspection(path)
    if found is None:
        return []
    parts: list[Table | Text] = []
    sentences = []
    if found.interference is not None:
        parts.append(_pairs(found.interference))
        sentences.append(interference_sentence(found.interference.places[-1]))
        sentences += [f"note: {note}" for note in found.interference.notes]
    for each in found.features or []:
        sentences += [features_sentence(each)] if each.separations else []
        sentences += [f"note: {note}" for note in each.notes]
    for merged in found.heads or []:
        if any(layer.merges for layer in merged.layers):
            parts.append(_shares(merged))
            sentences.append(heads_sentence(merged))
        sentences += [f"note: {note}" for note in merged.notes]
    if found.landscape is not None:
        sentences.append(landscape_sentence(found.landscape))
    if found.reach is not None:
        sentences.append(reach_sentence(found.reach))
    return parts + [Text(sentence) for sentence in (*sentences, *(f"note: {note}" for note in found.notes))]


def _pairs(found: Interference) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    last = found.places[-1]
    caption = f"gradients with respect to the student, {last.place.name} of training, {found.batches} batches"
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    table.add_column("terms", overflow="fold")
    for title in ("cosine", "1 - cos", "conflicts", "norms"):
        table.add_column(title, justify="right", no_wrap=True)
    for pair in last.groups["all"]:
        names = Text(f"{pair.first}\n{pair.second}")
        if pair.cosine is None or pair.opposition is None:
            table.add_row(names, *["—"] * 4)
            continue
        spread = "" if pair.cosine_sd is None else f" ± {pair.cosine_sd:.2f}"
        conflicts, ratio = percent(pair.conflict_rate or 0.0, 0), fixed(pair.norm_ratio or 0.0, 2)
        table.add_row(names, cosine(pair.cosine) + spread, cosine(pair.opposition), conflicts, ratio)
    return table


def _shares(found: Heads) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    merging = [layer for layer in found.layers if layer.merges]
    caption = f"{found.samples} texts; the last columns: what a merge misses of what its heads write"
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    for title in (
        "layers",
        "median share",
        "outside",
        *(each.removeprefix("by ") for each in TITLES.values()),
    ):
        table.add_column(title, justify="right")
    for layer in merging:
        lost = (_share(layer.lost.get(name)) for name in TITLES)
        names = f"{layer.layer} from {layer.partner}"
        table.add_row(names, medians(layer), percent(layer.outside or 0.0), *lost)
    lost = (_share(lost_everywhere(merging, name)) for name in TITLES)
    table.add_row("all", "", percent(everywhere(merging)), *lost)
    return table


def _share(value: float | None) -> str:
    return "—" if value is None else percent(value)
