"""HTML that cannot be injected into: what is not `Markup` is cleaned and escaped when it enters an element.

Prompts, model outputs, run names and recipes come from anywhere. Nobody has to remember to escape them: a
plain string becomes text, and the page's own style sheet is all that is declared `Markup` elsewhere.
"""

import unicodedata
from html import escape

_JOINERS = "\u200c\u200d"  # invisible, but Persian words and emoji need them
_VOID = frozenset({"meta", "br", "input", "line", "path", "circle", "polygon"})


class Markup(str):
    """A string that is HTML already and goes into the page as it is."""

    __slots__ = ()


def clean(text: str) -> str:
    """`text` without control, bidirectional and other invisible characters, which reorder or hide words.

    Line breaks and tabs stay; lone surrogates become U+FFFD.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_clean_character, text.replace("\r\n", "\n").replace("\r", "\n")))


def _clean_character(character: str) -> str:
    if character in "\n\t" or character in _JOINERS:
        return character
    kind = unicodedata.category(character)
    if kind in ("Cs", "Cn", "Co"):
        return "\ufffd"
    if kind in ("Zl", "Zp"):
        return "\n"
    return "" if kind in ("Cc", "Cf") else character


def shorten(text: str, limit: int) -> str:
    """The first `limit` characters of `text`; what was cut is counted at the end."""
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()}… ({len(text) - limit:,} more characters)"


def label(text: str, limit: int) -> str:
    """`text` as one short line, for heads and chart labels, which have no room to count what was cut."""
    line = " ".join(clean(text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def join(*children: str) -> Markup:
    """Children one after another; plain strings are cleaned and escaped."""
    return Markup("".join(c if isinstance(c, Markup) else escape(clean(c), quote=True) for c in children))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """`<tag attributes>children</tag>`. `class_` is class, `aria_label` aria-label; None leaves one out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{join(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>" if tag in ("meta", "br", "input") else f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{join(*children)}</{tag}>")
