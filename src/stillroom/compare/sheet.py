"""The runs of a comparison as CSV, one row each, for a spreadsheet or a data frame.

Text that a spreadsheet would take for a formula gets an apostrophe before it (CSV injection, CWE-1236).
"""

import csv
import io
from collections.abc import Mapping
from typing import Any

_NESTED = ("curve", "measures", "tests")


def sheet(content: Mapping[str, Any]) -> str:
    """Columns: variant, learning rate and seed, then metrics and costs, `measure/...`, and `test/<exam>/<metric>`."""
    rows = [
        {"variant": name, "learning_rate": variant.get("learning_rate"), **_flat(run)}
        for name, variant in content["variants"].items()
        for run in variant["runs"]
    ]
    columns = list(dict.fromkeys(["variant", "learning_rate", "seed", *(key for row in rows for key in row)]))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [safe(column) for column in columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({safe(key): safe(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def safe(value: Any) -> Any:
    """Numbers are left alone: a negative one is no formula."""
    dangerous = isinstance(value, str) and value.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")
    return f"'{value}" if dangerous and value else value


def _flat(run: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value for key, value in run.items() if key not in _NESTED}
    plain |= {f"measure/{key}": value for key, value in run.get("measures", {}).items()}
    for exam, metrics in run.get("tests", {}).items():
        plain |= {f"test/{exam}/{key}": value for key, value in metrics.items()}
    return plain
