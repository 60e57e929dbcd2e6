"""One self-contained HTML file from run folders: no script, no external address, same bytes for same runs."""

from collections.abc import Sequence
from pathlib import Path

from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically
from stillroom.report import numbers
from stillroom.report.answers import answers_section
from stillroom.report.cautions import cautions, notes
from stillroom.report.curves import curves
from stillroom.report.document import document, section
from stillroom.report.headline import headline, model_name
from stillroom.report.inspection import inspection_section
from stillroom.report.markup import Markup, clean, element, join, label, shorten
from stillroom.report.read import Run, read_runs
from stillroom.report.results import COLUMNS, Cell, Row, gap_closed, held_out_loss, result_rows
from stillroom.report.settings import objectives_table, scrolling, settings_section, swatch


def write_report(runs: Sequence[Path], output: Path, title: str | None = None) -> Path:
    """Write the page of one or more run folders to `output` and return its path.

    The first run is the main one; the others stand beside it. `BadInput` where a folder holds no run, or
    `output` is a folder; anything else that a run lacks is named on the page.
    """
    output = Path(output)
    if output.is_dir():
        raise BadInput(
            f"expected a file to write the report to, {output} is a folder; name a file such as report.html."
        )
    write_text_atomically(output, page(read_runs(runs), title))
    return output


def page(runs: Sequence[Run], title: str | None = None) -> str:
    """The whole document."""
    title = label(title or _title(runs[0]), 120)
    rows = result_rows(runs)
    first, *rest = headline(runs)
    top = element(
        "header",
        element("p", "Stillroom report", class_="eyebrow"),
        element("h1", title),
        element("p", element("strong", first), " ", " ".join(rest), class_="lead"),
    )
    inside = inspection_section(runs)
    main = element(
        "main",
        top,
        section("Results", _results(rows), _gap(rows), _list(cautions(runs))),
        section("Curves", curves(runs)),
        section("Inside the training", *inside) if inside else "",
        section("Answers", answers_section(runs)),
        section("Notes", _notes(runs)),
        section("Settings", objectives_table(runs), settings_section(runs)),
    )
    return document(title, main)


def _title(run: Run) -> str:
    student, teacher = model_name(run, "student"), model_name(run, "teacher")
    if student and teacher:
        return f"{teacher} → {student}"
    return student or run.label


def _list(sentences: Sequence[str]) -> Markup:
    items = (element("li", shorten(sentence, 1000)) for sentence in sentences)
    return element("ul", *items, class_="notes") if sentences else Markup()


def _results(rows: Sequence[Row]) -> Markup:
    """The table; a dash carries a letter, and the reason stands under that letter below."""
    kept = [i for i, column in enumerate(COLUMNS) if any(column.key in row.values for row in rows)]
    reasons = list(dict.fromkeys(row.cells[i].reason for row in rows for i in kept if row.cells[i].reason))
    heads = [
        element("th", COLUMNS[i].title, element("span", COLUMNS[i].unit, class_="unit"), scope="col")
        for i in kept
    ]
    body = []
    for row in rows:
        mark = swatch(row.index) if row.kind == "run" else element("span", class_=f"swatch {row.kind}")
        cells = [_cell(row.cells[i], reasons) for i in kept]
        kind = f"{row.kind} main" if row.kind == "run" and row.index == 0 else row.kind
        body.append(
            element("tr", element("th", mark, label(row.label, 48), scope="row"), *cells, class_=kind)
        )
    caption = element("caption", "What the models reach, and what that cost")
    head = element("thead", element("tr", element("th", "Model", scope="col"), *heads))
    table = element("table", caption, head, element("tbody", *body), class_="results")
    many = sum(row.kind == "run" for row in rows) > 1
    order = "Runs stand from the lowest held-out loss to the highest; " if many else ""
    order += "the best student value is underlined. " if many else "The best student value is underlined. "
    legend = (join(element("sup", _letter(i)), "\u00a0", reason, ". ") for i, reason in enumerate(reasons))
    return join(scrolling("Results", table), element("p", order, *legend, class_="legend"))


def _cell(cell: Cell, reasons: Sequence[str]) -> Markup:
    if cell.reason:
        letter = element("sup", _letter(reasons.index(cell.reason)))
        return element("td", "—", letter, class_="absent", title=cell.reason)
    if cell.best:
        return element("td", element("strong", cell.text), class_="best", title="best student value")
    return element("td", cell.text)


def _letter(index: int) -> str:
    return chr(ord("a") + index) if index < 26 else str(index)


def _gap(rows: Sequence[Row]) -> Markup:
    """A bar per run from the untrained student (0 %) to the teacher (100 %)."""
    teacher = next((held_out_loss(row.values) for row in rows if row.kind == "teacher"), None)
    before = next((held_out_loss(row.values) for row in rows if row.kind == "baseline"), None)
    heading = element("h3", "How much of the gap to the teacher was closed")
    if teacher is None or before is None or before <= teacher:
        missing = "the teacher's loss" if teacher is None else "the loss of the student before training"
        why = f"{missing} is missing" if teacher is None or before is None else "the teacher is not ahead"
        return join(heading, element("p", f"— cannot be said: {why}.", class_="absent"))
    bars = []
    for row in rows:
        share = gap_closed(before, held_out_loss(row.values), teacher) if row.kind == "run" else None
        if share is not None:
            width = f"width:{100 * min(1.0, max(0.0, share)):.1f}%"
            bar = element(
                "span", element("span", class_=f"fill c{row.index % 8}", style=width), class_="track"
            )
            text = numbers.percent(share, 0)
            name = element("span", label(row.label, 40), class_="who")
            bars.append(element("li", name, bar, element("span", text, class_="share")))
    ends = element("p", element("span", "student before training"), element("span", "teacher"), class_="ends")
    note = "Measured by held-out loss, in nats per token." if bars else "— no run has a held-out loss."
    if sum(row.kind != "run" for row in rows) > 2:
        note += " The ends are the first teacher and the first student of the table."
    return join(
        heading, element("ul", *bars, class_="gap"), ends if bars else "", element("p", note, class_="aside")
    )


def _notes(runs: Sequence[Run]) -> Markup:
    parts = []
    for index, run in enumerate(runs):
        found = notes(run) or ["Nothing to note."]
        heading = element("h3", swatch(index), label(run.label, 60)) if len(runs) > 1 else ""
        parts += [heading, _list([clean(note) for note in found])]
    return join(*parts)
