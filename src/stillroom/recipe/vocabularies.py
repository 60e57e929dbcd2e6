"""The vocabularies of a pair: one that both models share, or two that are compared by their bytes.

One is one token for token (`alignment.vocabulary`), and nothing is guessed where it is not: then every objective of the
recipe must be one that compares two, and the run says that it does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stillroom.alignment.byte_table import byte_table
from stillroom.alignment.vocabulary import VocabularyMatch, compare_vocabularies, vocabulary_identity
from stillroom.core.byte_table import ByteTable
from stillroom.core.errors import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Vocabulary:
    """One side's: what its model is trimmed to, and what its ids mean."""

    size: int
    """Rows of the head that take part."""
    identity: str
    """Equal strings mean the same token for every id below `size`."""
    tokens: ByteTable | None = None
    """Known where an objective or a second vocabulary asks for bytes."""
    end_token: int | None = None


@dataclass(frozen=True)
class Vocabularies:
    """Of student and teacher; without a teacher, twice the student's."""

    student: Vocabulary
    teacher: Vocabulary
    difference: str = ""
    """Where there are two: how one finds out, in a sentence."""

    @property
    def are_two(self) -> bool:
        return self.student.identity != self.teacher.identity

    @property
    def tables(self) -> tuple[ByteTable, ByteTable]:
        """Of two vocabularies."""
        assert self.student.tokens is not None
        assert self.teacher.tokens is not None
        return self.student.tokens, self.teacher.tokens


def match_with(
    student: "PreTrainedTokenizerBase",
    teacher: "PreTrainedTokenizerBase",
    student_config: "PreTrainedConfig",
    teacher_config: "PreTrainedConfig",
) -> VocabularyMatch:
    """What a student and one teacher share; `BadInput` where they do not share a vocabulary."""
    return compare_vocabularies(
        student.get_vocab(),
        teacher.get_vocab(),
        rows_of(student_config),
        rows_of(teacher_config),
        lambda text: student.encode(text, add_special_tokens=False),
        lambda text: teacher.encode(text, add_special_tokens=False),
    )


def shared_vocabulary(
    tokenizers: "Mapping[str, PreTrainedTokenizerBase]", configs: "Mapping[str, PreTrainedConfig]"
) -> VocabularyMatch:
    """What "student" and, if there is one, "teacher" share; `BadInput` where they do not share a vocabulary."""
    student = tokenizers["student"], configs["student"]
    teacher = tokenizers.get("teacher", student[0]), configs.get("teacher", student[1])
    return match_with(student[0], teacher[0], student[1], teacher[1])


def read_vocabularies(
    tokenizers: "Mapping[str, PreTrainedTokenizerBase]",
    configs: "Mapping[str, PreTrainedConfig]",
    others: "Sequence[PreTrainedConfig]" = (),
    wants_tokens: bool = False,
) -> Vocabularies:
    """Of "student" and, if there is one, "teacher"; `others` are further models with the student's tokenizer. Bytes are
    read where there are two, and where `wants_tokens` and they can be.

    `BadInput` where there are two and the bytes of one are not known, or a model has too few rows for its tokenizer.
    """
    student = tokenizers["student"], configs["student"]
    teacher = tokenizers.get("teacher", student[0]), configs.get("teacher", student[1])
    try:
        match = shared_vocabulary(tokenizers, configs)
    except BadInput as error:
        two = [_alone(role, *each) for role, each in (("student", student), ("teacher", teacher))]
        if two[0].identity == two[1].identity:  # the same tokens, cut by other rules
            two[1] = Vocabulary(
                two[1].size, f"{two[1].identity} of the teacher", two[1].tokens, two[1].end_token
            )
        return Vocabularies(two[0], two[1], str(error))
    rows = {rows_of(each) for each in (student[1], teacher[1], *others)}
    size = match.shared if len(rows) > 1 else rows.pop()
    tokens = read_bytes(student[0]) if wants_tokens else None
    one = Vocabulary(size, match.identity, tokens, student[0].eos_token_id)
    return Vocabularies(one, one)


def rows_of(config: "PreTrainedConfig") -> int:
    """Of the head of a model."""
    return config.get_text_config().vocab_size


def read_bytes(tokenizer: Any) -> ByteTable | None:
    """What the ids of a tokenizer are in bytes; None where it has no definition that says so."""
    return byte_table(tokenizer.backend_tokenizer.to_str()) if tokenizer.is_fast else None


def _alone(role: str, tokenizer: Any, config: "PreTrainedConfig") -> Vocabulary:
    table, rows = _table(role, tokenizer), rows_of(config)
    if len(table) > rows:
        raise BadInput(
            f"{role}: the tokenizer has ids up to {len(table) - 1} and the model {rows} rows: use the model's own "
            "tokenizer, or resize its embeddings"
        )
    return Vocabulary(len(table), vocabulary_identity(tokenizer.get_vocab()), table, tokenizer.eos_token_id)


def _table(role: str, tokenizer: Any) -> ByteTable:
    table = read_bytes(tokenizer)
    if table is None:
        raise BadInput(
            f"{role}: the tokenizer has no definition to read bytes from ({type(tokenizer).__name__}), which two "
            "vocabularies are compared by; expected one of the tokenizers library, with a tokenizer.json"
        )
    return table
