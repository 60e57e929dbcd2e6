"""Text for pages that others read: nothing of where this machine keeps its files."""

from pathlib import Path
from typing import Any


def portable(value: Any) -> Any:
    """Of absolute paths the last name stays, in texts, lists and mappings."""
    if isinstance(value, dict):
        return {key: portable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [portable(inner) for inner in value]
    if isinstance(value, str) and value.startswith(("/", "~", "..")):
        return f".../{Path(value).name}"
    return value
