"""Distil large language models into small ones: `distill`, and every method as an objective."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillroom.api import distill as distill

__version__ = "0.1.0"
__all__ = ["__version__", "distill"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: torch takes seconds, and `stillroom --help` must not.
    if name == "distill":
        from stillroom.api import distill

        return distill
    raise AttributeError(f"module 'stillroom' has no attribute {name!r}")
