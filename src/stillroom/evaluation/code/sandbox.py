"""One program in a sandbox, seen from outside: started, watched, ended whatever it does, and cleaned up.

    user        never root: nobody (65534) where the caller is root, without capabilities
    files       Landlock: reads and writes in its own empty folder, reads Python's library, nothing else
    calls       seccomp: no sockets, no processes or threads, no signals to others, no attributes of files
    limits      processor time, memory, size of a file, open files, no further process
    here        wall clock, 64 kB of output, 32 files and 16 MB in its folder; then the process is killed

As no process can be started inside, killing this one leaves nothing behind. `_prisoner` watches it,
`_jail` is the other side.
Standard library only.
"""

import os
import shutil
import sys
import tempfile

from stillroom.core.errors import BadInput
from stillroom.evaluation.code._prisoner import Prisoner
from stillroom.evaluation.code.outcome import Limits, Outcome


def require_sandbox(*, inside_container: bool = False, interpreter: str = sys.executable) -> None:
    """Run a harmless program and one that opens a socket; `BadInput` in one sentence where that shows no sandbox.

    `inside_container` does with what protection there is. Root without a way to become another user is
    refused all the same.
    """
    good = run_program("import math", inside_container=inside_container, interpreter=interpreter)
    if good.kind != "passed":
        raise BadInput(
            f"Generated code cannot be run here: a program that only imports math ended with {good.kind!r} "
            f"({good.detail}); use another machine or leave code exams out."
        )
    bad = run_program(
        "import socket; socket.socket()", inside_container=inside_container, interpreter=interpreter
    )
    if bad.kind != "forbidden" and not inside_container:
        raise BadInput(
            "Generated code cannot be run here: a program could open a socket inside the sandbox; run in a "
            "container of its own and say so with --i-run-inside-a-container, or leave code exams out."
        )


def run_program(
    program: str,
    limits: Limits | None = None,
    *,
    inside_container: bool = False,
    interpreter: str = sys.executable,
) -> Outcome:
    """Run `program` to its end or to its limits, in a folder of its own that is gone afterwards.

    May be called from several threads at once. `BadInput` where the sandbox cannot be built.
    """
    if sys.platform != "linux":
        raise BadInput(f"Generated code is run on Linux only, this is {sys.platform}; leave code exams out.")
    limits = limits or Limits()
    folder = tempfile.mkdtemp(prefix="stillroom-code-")
    try:
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        with Prisoner(program, limits, folder, inside_container, interpreter) as prisoner:
            return prisoner.watch()
    except OSError as error:
        raise BadInput(f"Generated code cannot be run here ({error}); leave code exams out.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
