"""The inside of the sandbox: gives up every right, then runs one program. Its own process, standard library only.

The order matters: user, files, limits, calls; each step could not be taken after the next one. Only then is
the program compiled. What came of it goes through a pipe of its own, together with a nonce that lies unread
in another pipe until the program has ended: leaving early, whatever the exit code, is not passing.
"""

import errno
import json
import math
import os
import resource
import signal
import struct
import sys
import types
from contextlib import suppress
from typing import Any

from stillroom.evaluation.code._landlock import landlock_version, restrict_files
from stillroom.evaluation.code._seccomp import restrict_calls, seccomp_possible
from stillroom.evaluation.code._system_calls import (
    DUMPABLE,
    KEEP_CAPABILITIES,
    NO_NEW_PRIVILEGES,
    PARENT_DEATH_SIGNAL,
    prctl,
    system_call,
)

NOBODY = 65534
READ_ANYTHING = 1 << 2
"""The capability CAP_DAC_READ_SEARCH."""
CAPSET = {"x86_64": 126, "aarch64": 91}
SYSTEM_FILES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/zoneinfo")
SETTINGS_READ_BY_LIBRARIES = ("/etc/ld.so.cache", "/etc/localtime")


def main() -> None:
    """Read the job from standard input, go to jail, run it, report, leave."""
    job = json.load(sys.stdin)
    # Kept here, because programs replace functions of modules, by mistake or to test something.
    read, write, leave, dumps = os.read, os.write, os._exit, json.dumps
    try:
        _go_to_jail(job)
    except OSError as error:
        write(job["report"], dumps({"refused": str(error)}).encode() + b"\n")
        leave(1)
    write(job["report"], b"ready\n")
    kind, detail = _run(job["program"])
    nonce = read(job["nonce"], 64).decode("ascii", "replace")
    write(job["report"], dumps({"nonce": nonce, "kind": kind, "detail": detail}).encode() + b"\n")
    leave(0)  # without the program's own exit handlers


def _go_to_jail(job: dict[str, Any]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.umask(0o077)
    os.environ.clear()
    missing = _missing()
    if missing and not job["inside_container"]:
        raise OSError(missing)
    prctl(NO_NEW_PRIVILEGES, 1)
    readable = [*sys.path, os.path.join(sys.base_prefix, "lib"), *SYSTEM_FILES, *SETTINGS_READ_BY_LIBRARIES]
    _become_nobody(sys.path)
    prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != job["caller"]:
        raise OSError("the process that asked for this is gone")
    prctl(DUMPABLE, 0)
    if landlock_version():
        restrict_files(os.curdir, readable)  # the way there may be closed to nobody
    _limit(job)
    if seccomp_possible():
        restrict_calls()


def _missing() -> str:
    """Which protection this machine lacks, as a sentence; empty where there is all."""
    if not landlock_version():
        return "this kernel has no Landlock (Linux 5.13 or later has it, unless it is switched off)"
    if not seccomp_possible():
        return f"system calls cannot be filtered here (processor {os.uname().machine})"
    return ""


def _become_nobody(needed: list[str]) -> None:
    """Never root, and without any capability but one.

    Where Python itself lies in root's home nobody could read it. Then the capability to read any file stays;
    Landlock keeps it to the files on its list.
    """
    if os.geteuid() == 0 or os.getuid() == 0:
        prctl(KEEP_CAPABILITIES, 1)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        if os.getresuid() != (NOBODY,) * 3:
            raise OSError(f"root could not become user {NOBODY}")
    kept = READ_ANYTHING if landlock_version() and not _can_read(needed) else 0
    _keep_capabilities(kept)
    if not _can_read(needed):
        raise OSError(f"user {os.getuid()} cannot read Python's own files in {sys.base_prefix}")


def _can_read(folders: list[str]) -> bool:
    try:
        return all(os.listdir(folder) for folder in folders if not folder.endswith(".zip"))
    except OSError:
        return False


def _keep_capabilities(kept: int) -> None:
    import ctypes

    call = CAPSET.get(os.uname().machine)
    if call is None:  # no list of numbers for this processor; only with `inside_container`
        return
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    # effective, permitted, inheritable; capabilities 0 to 31, then 32 to 63
    system_call(call, header, ctypes.create_string_buffer(struct.pack("=6I", kept, kept, 0, 0, 0, 0)))


def _limit(job: dict[str, Any]) -> None:
    """No further process or thread, and bounds for what one process can use up."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Whole seconds are all the kernel knows; a quarter of one is within what starting Python costs.
    seconds = max(1, math.ceil(used.ru_utime + used.ru_stime + job["cpu_seconds"] - 0.25))
    for what, soft, hard in (
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, job["memory_bytes"], job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, job["file_bytes"], job["file_bytes"]),
        (resource.RLIMIT_NOFILE, 32, 32),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
    ):
        ceiling = resource.getrlimit(what)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(what, (soft, hard))


def _run(program: str) -> tuple[str, str]:
    """The program's outcome and what it raised. In a module of its own, so that dataclasses find themselves."""
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    sys.argv = ["candidate"]
    try:
        exec(compile(program, "candidate", "exec"), module.__dict__)
    except BaseException as error:
        return _kind(error), _words(error)
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
    return "passed", ""


def _kind(error: BaseException) -> str:
    kinds: dict[type[BaseException], str] = {
        AssertionError: "failed assertion",
        MemoryError: "memory",
        PermissionError: "forbidden",
        SystemExit: "early exit",
        KeyboardInterrupt: "early exit",
    }
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return "forbidden"
    return next((kind for known, kind in kinds.items() if isinstance(error, known)), "error")


def _words(error: BaseException) -> str:
    text = type(error).__name__
    with suppress(BaseException):  # the program may have written __str__ itself
        text = f"{text}: {error}"
    return text[:500]
