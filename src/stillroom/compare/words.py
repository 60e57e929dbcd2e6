"""Words of the command line as parts of a comparison: learning rates and exams."""

from collections.abc import Sequence
from typing import get_args

from stillroom.compare.plan import Test
from stillroom.core.errors import BadInput


def rates_from(text: str) -> list[float]:
    """ "1e-4,3e-4" """
    try:
        rates = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        rates = []
    if not rates or not all(0 < rate < float("inf") for rate in rates):
        raise BadInput(f"--learning-rates {text}: expected numbers above 0, such as 1e-4,3e-4")
    return list(dict.fromkeys(rates))


def exams_from(
    exams: Sequence[str] | None, protocol: str | None, limit: int | None, before: Test | None
) -> Test | None:
    """The exams of the file, `before`, with what was typed in their place; None where there are none at all."""
    known = get_args(Test.model_fields["protocol"].annotation)
    if protocol is not None and protocol not in known:
        raise BadInput(f"--protocol {protocol}: expected {' or '.join(known)}")
    on = {name: source or None for name, _, source in (text.partition("=") for text in exams or ())}
    if not on and before is None:
        if protocol or limit:
            raise BadInput("--protocol and --test-limit are about exams; name one with --test")
        return None
    given = {"on": on or None, "protocol": protocol, "limit": limit}
    given = {key: value for key, value in given.items() if value is not None}
    return Test(**given) if before is None else before.model_copy(update=given)
