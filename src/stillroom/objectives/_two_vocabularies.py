"""What objectives over two vocabularies share: which tokens are the same bytes, and which positions have read the same.

Tokens are matched by bytes (`alignment.vocabulary_map`), end tokens by their role. Positions are context-equal: both
models have read the same bytes and nothing else of the response. Where only one tokenizer puts a space before any
text, the first token of a response is `▁Hello` to it and `Hello` to the other: whole distributions are not compared
there, though their tokens may be.

With one vocabulary every token and every position is matched with itself.
"""

import torch
from torch import Tensor, nn

from stillroom.alignment.batch import align
from stillroom.alignment.positions import Pairs
from stillroom.alignment.vocabulary_map import ABSENT, vocabulary_map
from stillroom.core.batch import Batch
from stillroom.core.errors import BadInput
from stillroom.core.shape import ModelShape


class SharedTokens(nn.Module):
    """Buffers, so that they are where the objective is; none of them is saved.

    `student [n]` and `teacher [n]` are ids of the same bytes, in the order of the student's; `to_student [W]` and
    `to_teacher [V]` the other vocabulary's id of every id, or -1.
    """

    student: Tensor
    teacher: Tensor
    to_student: Tensor
    to_teacher: Tensor

    def __init__(self, student: Tensor, teacher: Tensor, rows: tuple[int, int], spaces_differ: bool) -> None:
        """`rows` of both heads, V and W; `spaces_differ` where one tokenizer alone puts a space before a text."""
        super().__init__()
        to_teacher, to_student = (torch.full((size,), ABSENT) for size in rows)
        to_teacher[student], to_student[teacher] = teacher, student
        self.spaces_differ = spaces_differ
        for name, ids in (
            ("student", student),
            ("teacher", teacher),
            ("to_student", to_student),
            ("to_teacher", to_teacher),
        ):
            self.register_buffer(name, ids, persistent=False)

    def __len__(self) -> int:
        return len(self.student)

    def positions(self, batch: Batch) -> Pairs:
        """Positions whose next-token distributions may be compared: `rows`, `student`, `teacher`, each `[N]` int64."""
        return self.comparable(align(batch).context, batch)

    def comparable(self, pairs: Pairs, batch: Batch) -> Pairs:
        """Context-equal positions without those where a space decides what the next token is called."""
        if not self.spaces_differ:
            return pairs
        inside = batch.student.response_mask.bool()[pairs.rows, pairs.student]
        return Pairs(*(each[inside] for each in pairs))


def shared_tokens(student: ModelShape, teacher: ModelShape, name: str) -> SharedTokens:
    """From what `setup` is given. `BadInput`, for the objective called `name`, where tokens are not known or none is
    shared."""
    if student.vocabulary == teacher.vocabulary:
        ids = torch.arange(student.vocab_size)
        return SharedTokens(ids, ids, (student.vocab_size, teacher.vocab_size), spaces_differ=False)
    if student.tokens is None or teacher.tokens is None:
        raise BadInput(
            f"{name} compares two vocabularies by their bytes, and those of the "
            f"{'student' if student.tokens is None else 'teacher'} are not known: its tokenizer has no definition "
            "(tokenizer.json); save the model with one of the tokenizers library"
        )
    ends = (student.end_token, teacher.end_token)
    found = vocabulary_map(student.tokens, teacher.tokens, [] if None in ends else [ends])  # type: ignore[list-item]
    if len(found) == 0:
        raise BadInput(
            f"{name} needs tokens that both vocabularies have, and they share none: choose another teacher"
        )
    pair = (torch.from_numpy(found.student), torch.from_numpy(found.teacher))
    differ = student.tokens.dummy_prefix != teacher.tokens.dummy_prefix
    return SharedTokens(*pair, (student.vocab_size, teacher.vocab_size), differ)
