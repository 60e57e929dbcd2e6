"""`stillroom align`: one text under two tokenizers, and how much of it two models can compare."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stillroom.cli.options import AsJson
from stillroom.core.errors import BadInput

if TYPE_CHECKING:
    from stillroom.alignment.reader import Reader
    from stillroom.data.spans.segmentation import Segmenter

ON_TERMINAL = 3  # texts
TEXT_SUFFIXES = (".txt", ".md")


def align(
    text: Annotated[str, typer.Argument(help="A text, or a file: text as a whole, or records with --field.")],
    student: Annotated[str, typer.Option("--student", help="Tokenizer of the model that learns.")],
    teacher: Annotated[str, typer.Option("--teacher", help="Tokenizer of the model that is learned from.")],
    field: Annotated[
        str | None, typer.Option("--field", help="Field of a record that holds the text, for example output.")
    ] = None,
    spans: Annotated[
        str | None,
        typer.Option(
            "--spans",
            help="Show words and phrases, cut by: textblob, windows, or a spaCy pipeline (name or folder).",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="The page (default: alignment.html; none with --json).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cut a text with two tokenizers, and say how much of it two models can compare token by token."""
    texts = _texts(text, field)
    segmenter = _segmenter(spans)
    readers = _reader(student, "student"), _reader(teacher, "teacher")
    from stillroom.cli.alignment import alignment_view

    view = alignment_view(texts, readers, (_name(student), _name(teacher)), segmenter)
    if output is not None or not as_json:
        from stillroom.core.record import write_text_atomically
        from stillroom.report.alignment_page import alignment_page

        output = output or Path("alignment.html")
        write_text_atomically(output, alignment_page(view))
    if as_json:
        named = {"student": view.student, "teacher": view.teacher, "shared_tokens": view.shared_tokens}
        counted = named | view.ratios | view.counts | ({"spans": asdict(view.spans)} if view.spans else {})
        print(json.dumps(counted, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from stillroom.report.alignment_terminal import alignment_text

    console = Console(highlight=False)
    for part in alignment_text(replace(view, texts=view.texts[:ON_TERMINAL]), console.width):
        console.print(part)
    print(f"page  {output}")


def _segmenter(spans: str | None) -> "Segmenter | None":
    """Who cuts words and phrases: one by name, or a pipeline of spaCy by its name or folder."""
    if spans is None:
        return None
    if spans in ("", "spacy", "given"):
        raise BadInput(
            f"--spans {spans}: expected textblob, windows, or the name or folder of a spaCy pipeline, for example "
            "--spans en_core_web_sm."
        )
    from stillroom.data.spans.make import make_segmenter

    if spans in ("textblob", "windows"):
        return make_segmenter(spans, cache=False)
    try:
        return make_segmenter("spacy", spans, cache=False)
    except BadInput as error:
        raise BadInput(f"--spans {spans}, neither textblob nor windows, is for spaCy: {error}") from error


def _texts(argument: str, field: str | None) -> list[str]:
    """What to cut: the argument itself, a file as a whole, or one field of its records."""
    texts = _found(argument, field)
    for number, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                f"text {number} is no valid Unicode at letter {error.start} ({text[error.start]!r}); mend its encoding."
            ) from error
    return texts


def _found(argument: str, field: str | None) -> list[str]:
    from stillroom.data.sources import SUFFIXES, looks_like_path, read_records

    path = Path(argument).expanduser()
    is_records = path.suffix.lower() in SUFFIXES
    if field is not None or (is_records and looks_like_path(argument)):
        return _of_records(read_records(argument), field)
    if not _is_file(path):
        if path.suffix.lower() in TEXT_SUFFIXES and not any(map(str.isspace, argument)):
            raise BadInput(f"{path} does not exist; check the path, or give the text itself.")
        return [argument]
    try:
        return [path.read_text(encoding="utf-8")]
    except (UnicodeDecodeError, OSError) as error:
        raise BadInput(
            f"{path} cannot be read as UTF-8 text ({error}); give a text file or records."
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text is a very long name, or has a zero byte
        return False


def _of_records(records: Any, field: str | None) -> list[str]:
    texts: list[str] = []
    for place, row in zip(records.places, records.rows, strict=True):
        value = row.get(field) if field else None
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) for each in values):
            fields = ", ".join(map(repr, row))
            wanted = f"text in the field {field!r}" if field else "--field with the name of the field to read"
            raise BadInput(f"{place}: expected {wanted}; the record has {fields}.")
        texts += values
    return texts


def _reader(source: str, role: str) -> "Reader":
    from stillroom.alignment.reader import Reader
    from stillroom.recipe.models import load_tokenizer

    tokenizer: Any = load_tokenizer(source, role)
    if not tokenizer.is_fast:
        raise BadInput(
            f"{role}: the tokenizer of {source} has no definition to read ({type(tokenizer).__name__}); expected one "
            "of the tokenizers library, with a tokenizer.json."
        )
    return Reader(tokenizer.backend_tokenizer.to_str())


def _name(source: str) -> str:
    """A Hub name as it is, a folder without the folders it lies in."""
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() else source
