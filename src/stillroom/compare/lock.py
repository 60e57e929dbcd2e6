"""One comparison writes into a folder at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillroom.core.errors import BadInput

LOCK = ".lock"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """The right to write into `output`; `BadInput` where another process has it, or nothing can be written there.

    The processes that are started meanwhile hold it too: where a comparison is killed and its runs live on, the folder
    is theirs until they end. The system lets go of it when the last one ends, however it ends.
    """
    import fcntl  # Unix only, like the lock

    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / LOCK).open("a+")
    except OSError as error:
        raise BadInput(
            f"nothing can be written to {output} ({error.strerror}); give another --output"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(
                f"another comparison is writing to {output}, or runs of one that was killed still are; wait for "
                "them, or give another --output"
            ) from error
        os.set_inheritable(file.fileno(), True)
        yield
