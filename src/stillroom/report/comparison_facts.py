"""Behind a comparison: what objectives measured of themselves, and how to repeat it all."""

from collections.abc import Mapping
from typing import Any

import yaml

from stillroom.report.markup import Markup, element, join, label, shorten
from stillroom.report.settings import flat, scrolling
from stillroom.report.tables import number, plain_table

_LONGEST = 100_000


def measures_table(content: Mapping[str, Any]) -> Markup | None:
    """What objectives measured of themselves at the end of training, a column for each variant that did."""
    variants = content.get("variants") or {}
    kept = {name: each["measures"] for name, each in variants.items() if each.get("measures")}
    keys = list(dict.fromkeys(key for measures in kept.values() for key in measures))
    if not keys:
        return None
    rows = [
        element(
            "tr",
            element("th", label(key, 80), scope="row"),
            *(element("td", number(measures.get(key))) for measures in kept.values()),
        )
        for key in keys
    ]
    caption = "Last values of the training, mean of the seeds"
    return plain_table("Measures", caption, ["", *(label(name, 40) for name in kept)], rows, "results keys")


def reproduce(content: Mapping[str, Any]) -> Markup:
    """The command, the comparison file, and what a person needs to know of the machine."""
    parts: list[str] = []
    if content.get("command"):
        parts.append(element("pre", shorten(str(content["command"]), 5000)))
    if content.get("plan"):
        text = yaml.safe_dump(content["plan"], sort_keys=False, allow_unicode=True, width=100)
        parts.append(
            element(
                "details", element("summary", "The comparison file"), element("pre", shorten(text, _LONGEST))
            )
        )
    keys = ("seeds", "processor", "environment", "versions", "hashes", "data")
    facts = flat("", {key: content[key] for key in keys if content.get(key)})
    facts |= flat("test", {"protocol": (content.get("tests") or {}).get("protocol") or {}})
    rows = [
        element("tr", element("th", label(key, 60), scope="row"), element("td", shorten(value, 2000)))
        for key, value in facts.items()
    ]
    if rows:
        table = scrolling(
            "Versions, hashes and machine", element("table", element("tbody", *rows), class_="facts")
        )
        parts.append(element("details", element("summary", "Versions, hashes and machine"), table))
    return join(*parts) if parts else element("p", "— nothing was recorded.", class_="absent")
