"""What `stillroom.alignment` must give, one text at a time, in plain loops over lists."""

from collections.abc import Sequence


def two_pointers(
    student: Sequence[int], teacher: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Shared boundaries as pairs of token indices, and the chunk of every token, from byte ends of one text.

    Where several tokens have one end, only the last one ends there; negative ends are nowhere.
    """

    def ends_here(ends: Sequence[int], at: int) -> bool:
        return ends[at] >= 0 and (at + 1 == len(ends) or ends[at + 1] != ends[at])

    pairs = []
    i = j = 0
    while i < len(student) and j < len(teacher):
        if not ends_here(student, i):
            i += 1
        elif not ends_here(teacher, j):
            j += 1
        elif student[i] == teacher[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif student[i] < teacher[j]:
            i += 1
        else:
            j += 1
    return pairs, _chunks(len(student), [i for i, _ in pairs]), _chunks(len(teacher), [j for _, j in pairs])


def _chunks(length: int, closing: Sequence[int]) -> list[int]:
    chunks = []
    for at in range(length):
        later = [number for number, last in enumerate(closing) if last >= at]
        chunks.append(later[0] if later else -1)
    return chunks


def exact(student: Sequence[int], teacher: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of tokens that are alone in their chunk, from the chunks of every token."""
    return [
        (i, teacher.index(chunk))
        for i, chunk in enumerate(student)
        if chunk >= 0 and list(student).count(chunk) == 1 and list(teacher).count(chunk) == 1
    ]


def published(student: Sequence[str], teacher: Sequence[str]) -> list[tuple[int, int]]:
    """The published alignment, with its ever longer strings."""
    ours = [token.replace("▁", "").replace("Ġ", "") for token in student]
    theirs = [token.replace("▁", "").replace("Ġ", "") for token in teacher]
    i = j = 0
    pairs, said, heard = [], "", ""
    while i < len(ours) and j < len(theirs):
        if said == heard and ours[i] == theirs[j]:
            pairs.append((i, j))
            said, heard, i, j = said + ours[i], heard + theirs[j], i + 1, j + 1
        elif len(heard) > len(said):
            said, i = said + ours[i], i + 1
        elif len(heard) < len(said):
            heard, j = heard + theirs[j], j + 1
        else:
            said, heard, i, j = said + ours[i], heard + theirs[j], i + 1, j + 1
    return pairs
