"""The shape of a model, as far as an objective may know it."""

from dataclasses import dataclass, field

from stillroom.core.byte_table import ByteTable


@dataclass(frozen=True)
class ModelShape:
    """Sizes of one model. Two models share a vocabulary when `vocabulary` is equal, whatever their sizes."""

    vocab_size: int
    """Rows of the head that take part: the shared vocabulary, after trimming."""
    width: int
    num_layers: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    model_type: str
    vocabulary: str
    """Identity of the vocabulary: equal strings mean the same token for every id below `vocab_size`."""
    tokens: ByteTable | None = field(default=None, compare=False, repr=False)
    """What every id is in bytes; known where two vocabularies meet."""
    end_token: int | None = field(default=None, compare=False)
    """The id that closes a response."""
