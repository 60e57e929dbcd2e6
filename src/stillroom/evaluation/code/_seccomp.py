"""What this process may ask of the kernel, for the rest of its life: no sockets, processes, or other people's.

A filter of classic BPF over the numbers of system calls. Denied calls fail with EPERM, which Python raises as
`PermissionError`. Calls that are newer than this list, and those of other architectures (32 bit, x32), do
not exist for the process: what nobody here has looked at is not allowed.

Spec:     https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

from stillroom.evaluation.code._system_calls import SECCOMP, prctl

ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of the tables below and the number by which the kernel calls the machine."""

NEWEST_CALL = 462

DENIED: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # socket, socketpair: TCP, UDP and unix sockets alike; without one nothing can be connected or sent
    "network": ((41, 53), (198, 199)),
    # clone, fork, vfork, clone3, execve, execveat: nothing can outlive, multiply or replace this process
    "processes": ((56, 57, 58, 435, 59, 322), (220, 435, 221, 281)),
    # rt_sigqueueinfo, rt_tgsigqueueinfo, pidfd_*, ptrace, process_vm_*, process_m*, kcmp, setpriority,
    # sched_set*, ioprio_set, migrate_pages, move_pages
    "other processes": (
        (129, 297, 424, 434, 438, 101, 310, 311, 440, 448, 312, 141, 142, 144, 203, 314, 251, 256, 279),
        (138, 240, 424, 434, 438, 117, 270, 271, 440, 448, 272, 140, 118, 119, 122, 274, 30, 238, 239),
    ),
    # truncate, *chmod*, *chown*, *utime*, *xattr: Landlock does not watch over these
    "attributes of files": (
        (76, 90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199),
        (45, 52, 53, 452, 54, 55, 88, 5, 6, 7, 14, 15, 16),
    ),
    # mount, umount2, pivot_root, chroot, unshare, setns, open_tree .. fspick, mount_setattr
    "namespaces": (
        (165, 166, 155, 161, 272, 308, 428, 429, 430, 431, 432, 433, 442),
        (40, 39, 41, 51, 97, 268, 428, 429, 430, 431, 432, 433, 442),
    ),
    # syslog, inotify_add_watch, fanotify_mark: the kernel's log, and the names of files that others make
    "what others do": ((103, 254, 301), (116, 27, 263)),
    # sync, syncfs: the whole machine would wait for its disks
    "other people's time": ((162, 306), (81, 267)),
    # memfd_*, mq_open, mq_unlink, shm*, sem*, msg*: memory that no limit counts, and that may stay behind
    "memory outside": (
        (319, 447, 240, 241, 29, 30, 31, 64, 65, 66, 220, 68, 69, 70, 71),
        (279, 447, 180, 181, 194, 195, 196, 190, 191, 192, 193, 186, 187, 188, 189),
    ),
    # name_to_handle_at, open_by_handle_at, openat2, io_uring_*, bpf, perf_event_open, userfaultfd, keys
    "ways around": (
        (303, 304, 437, 425, 426, 427, 321, 298, 323, 248, 249, 250),
        (264, 265, 437, 425, 426, 427, 280, 241, 282, 217, 218, 219),
    ),
}

ITSELF_ONLY = ((62, 200, 234, 302), (129, 130, 131, 261))
"""kill, tkill, tgkill, prlimit64: their first argument must be this process."""

OPEN = (((2, 1), (257, 2)), ((56, 2),))
"""open, openat with the place of their flags: before Linux 6.2 a file opened for reading could be truncated."""

FCNTL = (72, 25)
OWNER_OF_SIGNALS = (8, 10, 15)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX: a pipe could send signals to anybody."""

PRCTL = (157, 167)
SETTLED = (1, 4)
"""PR_SET_PDEATHSIG, which ends this process with the caller, and PR_SET_DUMPABLE, without which nobody can look into
it and a crash calls no handler of core dumps: neither can be taken back."""

LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
ALLOW, DENY, UNKNOWN, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x80000000

Instruction = tuple[int, int, int, int]
"""Operation, how many instructions to skip where it holds, where it does not, and its constant."""


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def seccomp_possible() -> bool:
    """Whether the kernel filters calls and this machine's numbers are known here."""
    return platform.machine() in ARCHITECTURES and os.path.exists("/proc/sys/kernel/seccomp")


def restrict_calls() -> None:
    """Put the filter on this process; `no_new_privs` must be set before. `OSError` where the kernel refuses."""
    instructions = _filter(platform.machine(), os.getpid())
    code = b"".join(struct.pack("=HBBI", *each) for each in instructions)
    prctl(SECCOMP, 2, _Program(len(instructions), code))


def _filter(machine: str, process: int) -> list[Instruction]:
    column, architecture = ARCHITECTURES[machine]
    number, kind = 0, 4
    program: list[Instruction] = [
        (LOAD, 0, 0, kind),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, number),
        (AT_LEAST, 0, 1, NEWEST_CALL + 1),
        (RETURN, 0, 0, UNKNOWN),
    ]
    for calls in DENIED.values():
        for call in calls[column]:
            program += [(EQUAL, 0, 1, call), (RETURN, 0, 0, DENY)]
    for call in ITSELF_ONLY[column]:
        program += _where_argument(call, 0, [0, process], ALLOW, otherwise=DENY)
    program += _where_argument(FCNTL[column], 1, OWNER_OF_SIGNALS, DENY, otherwise=ALLOW)
    program += _where_argument(PRCTL[column], 0, SETTLED, DENY, otherwise=ALLOW)
    for call, place in OPEN[column]:
        cut = os.O_TRUNC
        bad = [cut | os.O_RDONLY, cut | os.O_ACCMODE]
        program += _where_argument(call, place, bad, DENY, otherwise=ALLOW, mask=cut | os.O_ACCMODE)
    return [*program, (RETURN, 0, 0, ALLOW)]


def _where_argument(
    call: int,
    place: int,
    values: Sequence[int],
    answer: int,
    *,
    otherwise: int,
    mask: int = 0,
) -> list[Instruction]:
    """`answer` to `call` where the low half of its argument is one of `values`; other calls pass on."""
    body: list[Instruction] = [(LOAD, 0, 0, 16 + 8 * place)]
    if mask:
        body.append((AND, 0, 0, mask))
    for index, value in enumerate(values):
        body.append((EQUAL, len(values) - index, 0, value))
    body += [(RETURN, 0, 0, otherwise), (RETURN, 0, 0, answer)]
    return [(EQUAL, 0, len(body), call), *body]
