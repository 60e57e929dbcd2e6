"""How many seeds, or which: "5" counts them, "10,20,30" names them."""

from collections.abc import Sequence

from stillroom.core.errors import BadInput


def seeds_from(text: str, known: Sequence[int]) -> list[int]:
    """ "5": the first five of `known`, counted on from its last where it has fewer; "7,": the seed 7 alone."""
    parts = [part.strip() for part in text.split(",")]
    named = [part for part in parts if part]
    if not named or not all(part.isdecimal() for part in named):
        raise BadInput(f"--seeds {text}: expected how many, such as 5, or which, such as 10,20,30")
    numbers = list(dict.fromkeys(map(int, named)))
    if len(parts) > 1:
        return numbers
    if not 1 <= numbers[0] <= 100:
        raise BadInput(
            f"--seeds {text}: one number says how many, 1 to 100; write {text}, for that seed alone"
        )
    more = range(known[-1] + 1, known[-1] + 1 + numbers[0])
    return [*known, *more][: numbers[0]]
