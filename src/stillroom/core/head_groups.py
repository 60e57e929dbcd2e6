"""What `stillroom match-heads` leaves in head_groups.json: which teacher heads become one, layer by layer.

Reading it needs neither torch nor the models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stillroom.core.errors import BadInput
from stillroom.core.record import write_text_atomically

HEAD_GROUPS = "head_groups.json"
FORMAT = 1


@dataclass
class HeadGroups:
    """The content of head_groups.json. Layers of the teacher count from 1, its query heads from 0."""

    teacher: str
    """Its folder or Hub name."""
    weights: str | None
    """SHA-256 of its files, as `stillroom cache` notes it; None where they are not on this machine."""
    data: str
    """SHA-256 of the training text."""
    teacher_heads: int
    student_heads: int
    rows: str
    """Which rows of the maps were compared: "real" or "response"."""
    samples: int
    """How many samples the similarities are means over."""
    groups: dict[int, list[list[int]]]
    """By layer: every head in one group, heads ascending, groups by their first head."""
    similarities: dict[int, list[list[float]]]
    """By layer: mean cosine, 0 to 1, between the maps of every two heads."""
    format: int = FORMAT

    def for_layers(
        self, layers: Sequence[int], teacher_heads: int, student_heads: int
    ) -> list[list[list[int]]]:
        """The groups of these teacher layers, in their order; `BadInput` where they are not those of such a pair."""
        if (teacher_heads, student_heads) != (self.teacher_heads, self.student_heads):
            raise BadInput(
                f"expected groups of {teacher_heads} teacher heads for {student_heads} student heads, the file was "
                f"written for {self.teacher_heads} and {self.student_heads}; run `stillroom match-heads` on this recipe"
            )
        if absent := [layer for layer in layers if layer not in self.groups]:
            raise BadInput(
                f"expected groups for teacher layer {absent[0]}, the file has layers {sorted(self.groups)}; run "
                "`stillroom match-heads` on this recipe"
            )
        return [self.groups[layer] for layer in layers]


@cache
def _format() -> TypeAdapter[HeadGroups]:
    return TypeAdapter(HeadGroups)


def write_head_groups(path: Path, groups: HeadGroups) -> None:
    """Write the file; it is whole or absent."""
    write_text_atomically(path, _format().dump_json(groups).decode() + "\n")


def read_head_groups(path: Path) -> HeadGroups:
    """The groups in a file; `BadInput` where there is none, or it cannot be read as what `match-heads` writes."""
    if not path.is_file():
        raise BadInput(
            f"there is no file {path.absolute()} with groups of heads; write one with `stillroom match-heads`"
        )
    try:
        found = _format().validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise BadInput(
            f"{path} cannot be read as groups of heads ({place}: {first['msg']}); run `stillroom match-heads` again"
        ) from error
    if found.format != FORMAT:
        raise BadInput(
            f"{path} has the format {found.format}, expected {FORMAT}: it was written by another version of stillroom; "
            "run `stillroom match-heads` again"
        )
    for layer, groups in found.groups.items():
        if sorted(head for group in groups for head in group) != list(range(found.teacher_heads)):
            raise BadInput(
                f"{path}: expected the groups of layer {layer} to hold each of {found.teacher_heads} heads once, got "
                f"{groups}; run `stillroom match-heads` again"
            )
        if len(groups) != found.student_heads:
            raise BadInput(
                f"{path}: expected {found.student_heads} groups in layer {layer}, one a student head, got "
                f"{len(groups)}; run `stillroom match-heads` again"
            )
    return found
