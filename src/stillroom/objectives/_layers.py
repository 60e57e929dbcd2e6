"""The layer map: which student layer is compared with which layer of the teacher.

    g(l) = ceil(l L_teacher / L_student)        the same relative depth, rounded up: the last meets the last

or both lists by hand. Layers count from 1; 0 is the output of the embedding.
"""

from stillroom.core.errors import BadInput


def same_depth(layer: int, deep: int, teacher_deep: int) -> int:
    """The teacher layer at the relative depth of a student layer, rounded up; 0 for 0."""
    return -(-layer * teacher_deep // deep)


def pair_layers(
    ours: list[int] | None, theirs: list[int] | None, deep: int, teacher_deep: int, first: int = 0
) -> list[tuple[int, int]]:
    """Student layer and teacher layer, one pair each; `ours` null: all blocks, `theirs` null: the same depths.

    `BadInput` where the lists differ in length or name a layer that is not there; `first` is the lowest one.
    """
    ours = list(range(1, deep + 1)) if ours is None else ours
    theirs = [same_depth(layer, deep, teacher_deep) for layer in ours] if theirs is None else theirs
    if len(ours) != len(theirs):
        raise BadInput(
            f"teacher_layers must name one partner for each of the student's {len(ours)} layers, "
            f"got {len(theirs)}: {theirs}"
        )
    for name, layers, most in (("student", ours, deep), ("teacher", theirs, teacher_deep)):
        if max(layers) > most:
            raise BadInput(
                f"{name}_layers must lie in [{first}, {most}], the {name}'s depth, got {max(layers)}"
            )
    return list(zip(ours, theirs, strict=True))


def check_layers(name: str, layers: list[int] | None, first: int = 0) -> None:
    """Raise `BadInput` unless `layers` is null or a list of layers from `first`."""
    if layers is None:
        return
    whole = isinstance(layers, list) and all(type(layer) is int and layer >= first for layer in layers)
    if not whole or not layers:
        embedding = " (0 is the embedding)" if first == 0 else ""
        raise BadInput(f"{name} must be a list of layers counted from 1{embedding}, got {layers!r}")
