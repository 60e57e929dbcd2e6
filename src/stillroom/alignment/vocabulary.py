"""Same vocabulary means the same vocabulary: id by id, and by what the tokenizers do with real text.

Equal sizes prove nothing (Llama 2 and Mistral both have 32,000), and unequal heads disprove nothing (the
heads of one Qwen family have 151,936 and 152,064 rows for one tokenizer). So: every token of the student must
have the same id in the teacher, and both must cut 200 probe strings alike. The shared vocabulary is then the
ids 0 to n - 1, where n - 1 is the student's largest id; head rows beyond it are trimmed from both models.

Ids below n that neither tokenizer defines (holes) stay: trimming at the first hole would lose the special
tokens that often lie behind one. A teacher may define more tokens than the student if their ids come after
all of the student's, because the text is encoded with the student's tokenizer; the reverse is refused.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stillroom.alignment.probes import PROBES
from stillroom.core.errors import BadInput

Encode = Callable[[str], Sequence[int]]
REMEDY = "give both models one tokenizer"


@dataclass(frozen=True)
class VocabularyMatch:
    """What two models with one vocabulary share."""

    shared: int
    """Rows that take part: ids 0 to `shared - 1`."""
    identity: str
    """Hash of the token of every id below `shared`: `ModelShape.vocabulary` of both models."""
    student_extra_rows: int
    """Rows of the student's head beyond the shared ones: padding."""
    teacher_extra_rows: int
    """Rows of the teacher's head beyond the shared ones: padding, or tokens unknown to the student."""
    holes: int
    """Ids below `shared` that no token has."""


def compare_vocabularies(
    student_vocab: Mapping[str, int],
    teacher_vocab: Mapping[str, int],
    student_rows: int,
    teacher_rows: int,
    student_encode: Encode,
    teacher_encode: Encode,
) -> VocabularyMatch:
    """Prove that two tokenizers are one, or raise `BadInput` that says where they differ.

    The vocabularies map tokens to ids, added tokens included; rows are those of the models' heads; the
    encoders turn a string into ids without adding special tokens.
    """
    _check_rows("student", student_vocab, student_rows)
    _check_rows("teacher", teacher_vocab, teacher_rows)
    shared = max(student_vocab.values()) + 1
    _check_ids(student_vocab, teacher_vocab, shared)
    _check_probes(student_encode, teacher_encode, shared)
    return VocabularyMatch(
        shared=shared,
        identity=vocabulary_identity(student_vocab),
        student_extra_rows=student_rows - shared,
        teacher_extra_rows=teacher_rows - shared,
        holes=shared - len(set(student_vocab.values())),
    )


def vocabulary_identity(vocab: Mapping[str, int]) -> str:
    """SHA-256 over (id, token) in the order of ids: equal where every id means the same token."""
    digest = hashlib.sha256()
    for index, token in sorted((index, token) for token, index in vocab.items()):
        digest.update(json.dumps([index, token]).encode())
    return digest.hexdigest()


def _check_rows(owner: str, vocab: Mapping[str, int], rows: int) -> None:
    if not vocab:
        raise BadInput(f"Expected a vocabulary from the {owner}'s tokenizer, got none: check its files.")
    token, largest = max(vocab.items(), key=lambda entry: entry[1])
    if largest >= rows:
        raise BadInput(
            f"Expected the {owner}'s model to have a row for each id of its tokenizer, but {token!r} has id "
            f"{largest} and the model has {rows} rows: use the model's own tokenizer, or resize its "
            "embeddings."
        )


def _check_ids(student: Mapping[str, int], teacher: Mapping[str, int], shared: int) -> None:
    """Every id below `shared` must mean the same token to both, and nothing to both where it is a hole."""
    ours = sorted((index, token) for token, index in student.items())
    different = [
        f"{token!r} is {index} for the student and {teacher.get(token, 'unknown')} for the teacher"
        for index, token in ours
        if teacher.get(token) != index
    ]
    different += [
        f"{token!r} is {index} for the teacher and {student.get(token, 'unknown')} for the student"
        for token, index in sorted(teacher.items(), key=lambda entry: entry[1])
        if index < shared and token not in student
    ]
    if different:
        shown = "; ".join(different[:5])
        raise BadInput(
            f"Expected student and teacher to share one vocabulary, but {len(different)} tokens differ (of "
            f"{len(student)} and {len(teacher)}): {shown}; {REMEDY}."
        )


def _check_probes(student_encode: Encode, teacher_encode: Encode, shared: int) -> None:
    for probe in PROBES:
        ours, theirs = list(student_encode(probe)), list(teacher_encode(probe))
        # a probe that spells one of the teacher's additional tokens must differ, and proves nothing
        if ours != theirs and max(theirs, default=0) < shared:
            raise BadInput(
                f"Expected tokenizers with one vocabulary to cut text alike, but {probe!r} is {_ids(ours)} "
                f"for the student and {_ids(theirs)} for the teacher: their merges or normalizers differ; "
                f"{REMEDY}."
            )


def _ids(ids: Sequence[int]) -> str:
    return f"{list(ids[:12])}{' ...' if len(ids) > 12 else ''}"
