"""Calls to the Linux kernel for which Python has no function, through ctypes."""

import ctypes
import os

NO_NEW_PRIVILEGES = 38
PARENT_DEATH_SIGNAL = 1
DUMPABLE = 4
KEEP_CAPABILITIES = 8
SECCOMP = 22
"""Names of settings of `prctl`."""


def system_call(number: int, *arguments: int | ctypes.Array | ctypes.Structure | None) -> int:
    """The answer of system call `number`; structures and buffers go by address. `OSError` where it is negative."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    given = [
        ctypes.c_long(each) if isinstance(each, int) else each and ctypes.byref(each) for each in arguments
    ]
    answer = libc.syscall(ctypes.c_long(number), *given)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def prctl(setting: int, value: int, more: ctypes.Structure | None = None) -> None:
    """Change a setting of this process; `OSError` where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    third = zero if more is None else ctypes.byref(more)
    if libc.prctl(ctypes.c_int(setting), ctypes.c_ulong(value), third, zero, zero) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
