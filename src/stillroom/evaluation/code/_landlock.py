"""Which files this process may touch, for the rest of its life: one folder, and what Python itself reads.

Landlock is the kernel's own access control for processes without privileges (Linux 5.13 and later). What
an older kernel cannot restrict is left out: connections over TCP (6.7), signals and abstract sockets (6.12);
`_seccomp` stops those as well.

Spec:     https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import struct
from collections.abc import Iterable

from stillroom.evaluation.code._system_calls import system_call

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446

WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_FILE, TRUNCATE = (1 << bit for bit in (1, 2, 3, 5, 8, 14))
OF_FILES = WRITE_FILE | READ_FILE | TRUNCATE
"""Rights that make sense for a file; the others are about folders."""

READ = READ_FILE | READ_DIR
OWN = READ | WRITE_FILE | REMOVE_FILE | MAKE_FILE | TRUNCATE
"""No folders, links, pipes, sockets or devices: a program's own files lie flat in one folder and can be counted."""

RIGHTS_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many kinds of file access each version of the interface knows."""


def landlock_version() -> int:
    """Version of the kernel's interface; 0 where there is none or it is switched off."""
    try:
        return system_call(CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def restrict_files(own: str, readable: Iterable[str]) -> None:
    """Allow reading and writing files in the folder `own`, reading what lies under `readable`, and no more.

    Paths that do not exist are skipped. `no_new_privs` must be set before. `OSError` where the kernel refuses.
    """
    version = landlock_version()
    handled = (1 << RIGHTS_OF_VERSION[min(version, 5)]) - 1
    network = 0b11 if version >= 4 else 0
    scoped = 0b11 if version >= 6 else 0
    fields = 1 if version < 4 else 2 if version < 6 else 3
    attributes = struct.pack(f"={fields}Q", *(handled, network, scoped)[:fields])
    ruleset = system_call(CREATE_RULESET, ctypes.create_string_buffer(attributes), len(attributes), 0)
    try:
        _allow(ruleset, own, OWN & handled)
        for path in {*readable, "/dev/null", "/dev/urandom"}:
            if os.path.exists(path):
                _allow(ruleset, path, READ & handled)
        _allow(ruleset, "/dev/null", WRITE_FILE)
        system_call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = rights if os.path.isdir(path) else rights & OF_FILES
        rule = struct.pack("=Qi", rights, place)
        system_call(ADD_RULE, ruleset, 1, ctypes.create_string_buffer(rule), 0)
    finally:
        os.close(place)
