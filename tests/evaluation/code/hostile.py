"""What a program may try, with what must come of it. Standard library only: other users and interpreters run it.

As a script it runs them all in the sandbox and prints the outcomes as JSON: `python hostile.py SOURCE INTERPRETER`.
"""

import json
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

FORKS = 10
"""A small bomb: the test is whether the first fork fails, and a sandbox with a hole must not take the machine along."""


def programs(victim: Path) -> dict[str, tuple[str, set[str]]]:
    """Name -> program and the kinds that are right. `victim` is a folder of the user with the file `secret`."""
    secret = str(victim / "secret")
    return {
        "good": ("x = 1\nassert x + 1 == 2", {"passed"}),
        "good with the library": (
            "import math, re, heapq, collections, datetime, decimal, hashlib, itertools, random, sqlite3\n"
            "datetime.datetime.now(); assert math.sqrt(4) == 2 and random.random() < 1",
            {"passed"},
        ),
        "good with a file": ("open('a', 'w').write('x'); assert open('a').read() == 'x'", {"passed"}),
        "good dataclass": (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n"
            "    x: int\nassert A(1).x == 1",
            {"passed"},
        ),
        "wrong": ("assert 1 == 2", {"failed assertion"}),
        "broken": ("def", {"error"}),
        "asks for input": ("input()", {"error"}),
        "writes outside": (f"open({str(victim / 'mark')!r}, 'w').write('x')", {"forbidden"}),
        "overwrites": (f"open({secret!r}, 'r+').write('x')", {"forbidden"}),
        "appends to a system file": ("open('/etc/hosts', 'a')", {"forbidden"}),
        "deletes": (f"import os; os.remove({secret!r})", {"forbidden"}),
        "renames": (f"import os; os.rename({secret!r}, 'mine')", {"forbidden"}),
        "links": (f"import os; os.link({secret!r}, 'mine')", {"forbidden", "error"}),
        "symlinks": (f"import os; os.symlink({secret!r}, 'mine'); open('mine')", {"forbidden"}),
        "truncates": (f"import os; os.truncate({secret!r}, 0)", {"forbidden"}),
        "truncates while reading": (
            f"import os; os.open({secret!r}, os.O_RDONLY | os.O_TRUNC)",
            {"forbidden"},
        ),
        "chmods": (f"import os; os.chmod({secret!r}, 0)", {"forbidden"}),
        "touches": (f"import os; os.utime({secret!r}, (1, 1))", {"forbidden"}),
        "reads a home": (f"print(open({secret!r}).read())", {"forbidden"}),
        "lists a home": (f"import os; print(os.listdir({str(victim)!r}))", {"forbidden"}),
        "reads passwd": ("print(open('/etc/passwd').read())", {"forbidden"}),
        "reads its parent": ("import os; open(f'/proc/{os.getppid()}/environ').read()", {"forbidden"}),
        "reads the environment": ("import os; assert not os.environ", {"passed"}),
        "tcp": ("import socket; socket.create_connection(('127.0.0.1', 9))", {"forbidden", "error"}),
        "tcp server": ("import socket; socket.socket().bind(('127.0.0.1', 0))", {"forbidden"}),
        "udp": (
            "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
            {"forbidden"},
        ),
        "unix": ("import socket; socket.socket(socket.AF_UNIX).connect('/run/x')", {"forbidden"}),
        "socket pair": ("import socket; socket.socketpair()", {"forbidden"}),
        "forks": (f"import os\nfor _ in range({FORKS}):\n    os.fork()", {"forbidden"}),
        "forks and does not mind": (
            f"import os, time\nfor _ in range({FORKS}):\n    try:\n        os.fork()\n    except OSError:\n"
            "        pass\nwhile True:\n    time.sleep(1)",
            {"timeout"},
        ),
        "threads": (
            f"import threading, time\nfor _ in range({FORKS}):\n"
            "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            {"error", "forbidden"},
        ),
        "runs a program": ("import subprocess; subprocess.run(['/bin/true'])", {"forbidden"}),
        "becomes a program": ("import os; os.execv('/bin/true', ['true'])", {"forbidden"}),
        "daemonizes": (
            "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(60)\n"
            "    os._exit(0)",
            {"forbidden"},
        ),
        "kills its parent": ("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", {"forbidden"}),
        "kills everybody": ("import os, signal; os.kill(-1, signal.SIGKILL)", {"forbidden"}),
        "signals through a pipe": (
            "import fcntl, os; fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
            {"forbidden"},
        ),
        "limits its parent": (
            "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
            {"forbidden"},
        ),
        "raises its limits": (
            "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (9, 9))",
            {"error"},
        ),
        "wants to outlive its parent": (
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.prctl(1, 0, 0, 0, 0) == -1",
            {"passed"},
        ),
        "wants to be dumped": (
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.prctl(4, 1, 0, 0, 0) == -1",
            {"passed"},
        ),
        "reads the kernel's log": (
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nroom = ctypes.create_string_buffer(4096)\n"
            "assert libc.klogctl(3, room, 4096) == -1 and ctypes.get_errno() == 1",
            {"passed"},
        ),
        "watches a home": (
            "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
            f"assert libc.inotify_add_watch(libc.inotify_init(), {str(victim).encode()!r}, 256) == -1\n"
            "assert ctypes.get_errno() == 1",
            {"passed"},
        ),
        "becomes root": ("import os; os.setuid(0)", {"forbidden"}),
        "kills itself": ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", {"error"}),
        "floods stdout": ("while True:\n    print('x' * 1000)", {"output flood"}),
        "floods stderr": ("import sys\nwhile True:\n    sys.stderr.write('x' * 1000)", {"output flood"}),
        "floods all it has": (
            "import os\nwhile True:\n    for fd in range(3, 30):\n        try:\n            os.write(fd, b'x' * 1000)\n"
            "        except OSError:\n            pass",
            {"output flood"},
        ),
        "exits": ("import sys; sys.exit(0)", {"early exit"}),
        "exits hard": ("import os; os._exit(0)", {"early exit"}),
        "closes everything": ("import os; os.closerange(0, 64); os._exit(0)", {"early exit"}),
        "breaks the way out": (
            "import os, json\nos._exit = os.write = json.dumps = lambda *a: None",
            {"passed"},
        ),
        "claims to have passed": (
            "import os\nfor fd in range(3, 30):\n    try:\n"
            '        os.write(fd, b\'{"nonce": "", "kind": "passed", "detail": ""}\\n\')\n'
            "    except OSError:\n        pass\nos._exit(0)",
            {"early exit"},
        ),
        "reports a deep tree": (
            "import os\nfor fd in range(3, 30):\n    try:\n        os.write(fd, b'[' * 60000)\n"
            "    except OSError:\n        pass\nos._exit(0)",
            {"early exit"},
        ),
        "raises half a letter": ("raise ValueError(chr(0xD800))", {"error"}),
        "sleeps": ("import time; time.sleep(1000)", {"timeout"}),
        "sleeps without pipes": (
            "import os, time; os.closerange(0, 64); time.sleep(1000)",
            {"timeout"},
        ),
        "computes": ("while True:\n    pass", {"timeout"}),
        "computes and ignores signals": (
            "import signal\nfor n in (signal.SIGXCPU, signal.SIGTERM, signal.SIGINT):\n"
            "    signal.signal(n, signal.SIG_IGN)\nwhile True:\n    pass",
            {"timeout"},
        ),
        "eats memory": ("x = []\nwhile True:\n    x.append(bytearray(2**20))", {"memory"}),
        "eats memory elsewhere": ("import os; os.memfd_create('x')", {"forbidden"}),
        "writes a giant file": (
            "with open('x', 'wb') as f:\n    while True:\n        f.write(b'x' * 2**20)",
            {"forbidden"},
        ),
        "writes many files": (
            "n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'wb').write(b'x')",
            {"forbidden"},
        ),
        "makes folders": ("import os\nwhile True:\n    os.mkdir('x'); os.chdir('x')", {"forbidden"}),
        "recurses": (
            "import sys; sys.setrecursionlimit(10**9)\ndef f(n): return sorted([n], key=f)\nf(0)",
            {"error", "memory"},
        ),
    }


def run_one(victim: Path, name: str, interpreter: str = sys.executable) -> list[str]:
    """Kind, detail and output of one of them."""
    from stillroom.evaluation.code.outcome import Limits
    from stillroom.evaluation.code.sandbox import run_program

    program, right = programs(victim)[name]
    # Patience for programs that end by themselves, on a machine that is busy; none for those that do not.
    limits = Limits(seconds=1, wall_seconds=2 if "timeout" in right else 60, memory_bytes=2**28)
    outcome = run_program(program, limits, interpreter=interpreter)
    return [outcome.kind, outcome.detail, outcome.output[:200]]


def make_victim(folder: Path) -> Path:
    folder.mkdir()
    (folder / "secret").write_text("the recipe")
    (folder / "secret").chmod(0o666)
    folder.chmod(0o777)  # as open as can be: only the sandbox stands in between
    return folder


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    with tempfile.TemporaryDirectory() as home:
        victim = make_victim(Path(home) / "victim")
        with ThreadPoolExecutor(6) as pool:
            run = partial(run_one, victim, interpreter=sys.argv[2])
            outcomes = dict(zip(programs(victim), pool.map(run, programs(victim)), strict=True))
        print(json.dumps({"user": os.getuid(), "outcomes": outcomes}))
        assert (victim / "secret").read_text() == "the recipe"
        assert [file.name for file in victim.iterdir()] == ["secret"]
