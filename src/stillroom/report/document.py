"""The frame of every page: one file, no script, no external address, and a policy that says so to the browser."""

from pathlib import Path

from stillroom.report.markup import Markup, element

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def document(title: str, main: Markup) -> str:
    """The whole HTML file around `main`."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Markup(Path(__file__).with_name("style.css").read_text(encoding="utf-8"))),
    )
    return "<!doctype html>\n" + element("html", head, element("body", main), lang="en") + "\n"


def section(title: str, *children: str) -> Markup:
    return element("section", element("h2", title), *children)
