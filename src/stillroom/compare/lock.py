"""One comparison writes into a folder at a time, and says so in a sentence where the folder cannot be written to."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stillroom.core.errors import BadInput

LOCK = ".lock"
_MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Full, over the quota, or not ours: no fault of the program."""


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
        try:
            yield
        except OSError as error:
            if error.errno not in _MENDABLE:
                raise
            raise BadInput(
                f"{error.filename or output} cannot be written ({error.strerror}); mend that: what is done is kept, "
                "and the same command goes on"
            ) from error
