"""The name of a sample in a store: a hash of what the teacher saw, never its number or a step.

    key = SHA-256( token ids as int64, little endian | one byte a token: is it trained on )

The mask belongs to it because rows are averaged, and answers kept, where trained tokens are predicted.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from stillroom.core.batch import Side


def sample_key(input_ids: Tensor, response_mask: Tensor) -> bytes:
    """Of one sample without padding: `input_ids [n]` and `response_mask [n]`; 32 bytes."""
    ids = np.ascontiguousarray(input_ids.cpu().numpy(), dtype="<i8")
    mask = np.ascontiguousarray(response_mask.cpu().numpy(), dtype=np.bool_)
    return hashlib.sha256(ids.tobytes() + mask.tobytes()).digest()


def keys_of(side: Side) -> Iterator[bytes]:
    """The keys of the rows of a padded batch, on whichever side the padding lies."""
    real = side.attention_mask.cpu().bool()
    ids, mask = side.input_ids.cpu(), side.response_mask.cpu()
    for row in range(len(ids)):
        yield sample_key(ids[row][real[row]], mask[row][real[row]])
