import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from stillroom.core.errors import BadInput
from stillroom.evaluation.code import _jail, _prisoner, sandbox
from stillroom.evaluation.code._landlock import landlock_version
from stillroom.evaluation.code._seccomp import (
    ARCHITECTURES,
    DENIED,
    FCNTL,
    ITSELF_ONLY,
    OPEN,
    PRCTL,
    seccomp_possible,
)
from stillroom.evaluation.code.mark import count_kinds, run_programs
from stillroom.evaluation.code.outcome import KINDS, Limits, Outcome
from stillroom.evaluation.code.sandbox import require_sandbox, run_program

HERE = Path(__file__).parent
SOURCE = HERE.parents[2] / "src"
spec = importlib.util.spec_from_file_location("hostile", HERE / "hostile.py")
hostile = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hostile)

jailed = pytest.mark.skipif(
    not (sys.platform == "linux" and landlock_version() and seccomp_possible()),
    reason="this kernel has no Landlock or no seccomp, so generated code is refused here",
)
SMALL = Limits(seconds=1, wall_seconds=60, memory_bytes=2**28)
USER = 54321


def _readable_python() -> str | None:
    """A Python that a normal user can run; one in root's home is none."""
    if os.geteuid() != 0:
        return sys.executable
    check = f"import sys; sys.path.append({str(SOURCE)!r}); assert sys.version_info >= (3, 11); import stillroom.core"
    for python in filter(os.path.exists, (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")):
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(
                [python, "-c", check], user=USER, group=USER, extra_groups=[], capture_output=True, check=True
            )
            return python
    return None


PYTHON = _readable_python() if sys.platform == "linux" else None
NAMES = list(hostile.programs(Path("/")))


def leftovers() -> tuple[list[str], list[str]]:
    """Folders of programs that are still there, and this process's children, dead or alive."""
    folders = [str(path) for path in Path(tempfile.gettempdir()).glob("stillroom-code-*")]
    processes = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
            line = (place.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == os.getpid() and (state == "Z" or b"code._jail" in line):
            processes.append(f"{place.parent.name} {state} {line!r}")
    return folders, processes


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    open_before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    yield
    if sys.platform == "linux":
        assert leftovers() == ([], [])
        assert len(os.listdir("/proc/self/fd")) == open_before


@pytest.fixture
def victim(tmp_path):
    return hostile.make_victim(tmp_path / "victim")


@jailed
@pytest.mark.parametrize("name", NAMES)
def test_a_program_is_contained_and_gets_its_kind(name, victim):
    right = hostile.programs(victim)[name][1]
    kind, detail, output = hostile.run_one(victim, name)
    assert kind in right, detail
    assert "the recipe" not in output
    assert [file.name for file in victim.iterdir()] == ["secret"]
    assert (victim / "secret").read_text() == "the recipe"
    assert (victim / "secret").stat().st_mode & 0o777 == 0o666


@jailed
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become other users")
def test_the_same_holds_for_a_normal_user():
    """Needs a Python outside root's home; the sandbox needs no package of it."""
    if PYTHON is None:
        pytest.skip("no Python 3.11 or later that a normal user can run")
    done = subprocess.run(
        [PYTHON, str(HERE / "hostile.py"), str(SOURCE), PYTHON],
        capture_output=True, text=True, user=USER, group=USER, extra_groups=[], env={"TMPDIR": "/tmp"}, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["user"] == USER
    expected = hostile.programs(Path("/"))
    wrong = {
        name: outcome for name, outcome in found["outcomes"].items() if outcome[0] not in expected[name][1]
    }
    assert wrong == {}
    alive = [
        place.name for place in Path("/proc").glob("[0-9]*") if place.exists() and place.stat().st_uid == USER
    ]
    assert alive == []


@jailed
def test_nobody_runs_it_without_capabilities():
    program = (
        "import os, ctypes, struct\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
        "libc = ctypes.CDLL(None)\n"
        "print(libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0), libc.prctl(3, 0, 0, 0, 0))\n"
    )
    outcome = run_program(program, SMALL)
    users, flags = outcome.output.splitlines()
    assert outcome.kind == "passed"
    if os.geteuid() == 0:
        assert users == "(65534, 65534, 65534) (65534, 65534, 65534) []"
    else:
        assert users.startswith(str((os.getuid(),) * 3))
    assert flags == "1 2 0"  # no new privileges, a filter of calls, not dumpable


@jailed
def test_a_filter_of_calls_alone_is_not_what_stops_forks(monkeypatch, tmp_path):
    """With the filter left out the limit on processes stands by itself. The bomb has one fork."""
    _copy_with(tmp_path, "_seccomp", "\n\ndef restrict_calls():\n    pass\n")
    monkeypatch.setattr(_prisoner, "ROOT", tmp_path)
    assert run_program("import socket; socket.socket()", SMALL).kind == "passed"  # the hole is there
    outcome = run_program("import os; os.fork()", SMALL)
    assert (outcome.kind, outcome.detail[:15]) == ("error", "BlockingIOError")
    if landlock_version() >= 4:
        tcp = run_program("import socket; socket.create_connection(('127.0.0.1', 9))", SMALL)
        assert tcp.kind == "forbidden"
    if landlock_version() >= 6:
        assert run_program("import os; os.kill(os.getppid(), 9)", SMALL).kind == "forbidden"


@jailed
def test_programs_side_by_side_do_not_meet():
    """All try to kill, read and fill each other; every one of them ends as it would alone."""
    program = (
        "import os, time\n"
        "time.sleep(0.2)\n"
        "me = os.getpid()\n"
        "for other in range(max(1, me - 40), me + 40):\n"
        "    if other != me:\n"
        "        for act in (lambda: os.kill(other, 9), lambda: open(f'/proc/{other}/mem', 'rb+')):\n"
        "            try:\n                act()\n            except (PermissionError, FileNotFoundError):\n"
        "                pass\n"
        "            else:\n                raise SystemExit('got through')\n"
        "open('mine', 'w').write(str(me)); time.sleep(0.2); assert os.listdir('.') == ['mine']\n"
    )
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: run_program(program, Limits(seconds=5)), range(8)))
    assert [outcome.kind for outcome in outcomes] == ["passed"] * 8, outcomes


@jailed
def test_nothing_survives_a_caller_that_is_killed(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n"
        "from stillroom.evaluation.code.sandbox import Limits, run_program\n"
        "run_program('import time; print(1); time.sleep(1000)', Limits(seconds=300))\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)})
    children = Path(f"/proc/{caller.pid}/task/{caller.pid}/children")
    _wait(lambda: children.read_text().split())
    child = Path("/proc") / children.read_text().split()[0]
    _wait(lambda: _state(child / "status", "Seccomp") == "2")
    caller.kill()
    caller.wait()
    _wait(lambda: not child.exists() or _state(child / "status", "State") == "Z")
    for folder in tmp_path.glob("stillroom-code-*"):  # only a living caller can clean up
        folder.rmdir()


def _wait(happened, seconds=60.0):
    tick = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if happened():
            return
        tick.wait(0.05)
    raise AssertionError("it did not happen")


def _state(status: Path, field: str) -> str:
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    except OSError:
        return "gone"
    return lines[field].split()[0]


@jailed
def test_sets_have_the_same_order_every_time():
    program = "print(set(map(str, range(50))))"
    assert len({run_program(program, SMALL).output for _ in range(3)}) == 1


@jailed
def test_many_at_a_time_come_back_in_order_and_are_counted():
    seen = []
    programs = ["pass", "assert False", "1 / 0", "raise SystemExit", "pass"]
    outcomes = run_programs(
        programs, SMALL, workers=3, progress=lambda done, total: seen.append((done, total))
    )
    assert [each.kind for each in outcomes] == ["passed", "failed assertion", "error", "early exit", "passed"]
    assert seen == [(n, 5) for n in range(1, 6)]
    assert outcomes[2].detail == "ZeroDivisionError: division by zero"
    counts = count_kinds(outcomes)
    assert list(counts) == list(KINDS)
    assert (counts["passed"], counts["timeout"]) == (2, 0)


@jailed
def test_output_comes_back_up_to_the_limit():
    outcome = run_program("print('ä' * 10); import sys; print('b', file=sys.stderr)", SMALL)
    assert outcome.output.splitlines() in (["ä" * 10, "b"], ["b", "ä" * 10])
    flood = run_program("print('x' * 70000)", SMALL)
    assert (flood.kind, len(flood.output)) == ("output flood", 64 * 2**10)


@pytest.mark.parametrize("lacking", ["landlock_version", "seccomp_possible"])
def test_a_machine_without_protection_is_named(monkeypatch, lacking):
    monkeypatch.setattr(_jail, lacking, lambda: 0)
    sentence = _jail._missing()
    assert ("Landlock" if lacking == "landlock_version" else "system calls") in sentence


@jailed
def test_refusals_are_sentences(monkeypatch):
    with pytest.raises(BadInput, match="sandbox did not start"):
        require_sandbox(interpreter="/bin/false")
    with pytest.raises(BadInput, match="cannot be run here"):
        require_sandbox(interpreter="/no/such/python")
    monkeypatch.setattr(sandbox, "run_program", lambda *_, **__: Outcome("passed"))
    with pytest.raises(BadInput, match="open a socket"):
        require_sandbox()
    require_sandbox(inside_container=True)
    monkeypatch.setattr(sandbox, "run_program", lambda *_, **__: Outcome("error", "why"))
    with pytest.raises(BadInput, match="only imports math"):
        require_sandbox(inside_container=True)


@jailed
def test_a_jail_that_cannot_be_built_says_why(monkeypatch, tmp_path):
    _copy_with(tmp_path / "old", "_landlock", "\n\ndef landlock_version():\n    return 0\n")
    monkeypatch.setattr(_prisoner, "ROOT", tmp_path / "old")
    with pytest.raises(BadInput, match=r"no Landlock .* --i-run-inside-a-container"):
        run_program("pass", SMALL)
    _copy_with(tmp_path / "stuck", "_landlock", "\n\nimport time\n\ntime.sleep(60)\n")
    monkeypatch.setattr(_prisoner, "ROOT", tmp_path / "stuck")
    monkeypatch.setattr(_prisoner, "START_SECONDS", 0.5)
    with pytest.raises(BadInput, match="sandbox did not start"):
        run_program("pass", SMALL)


@jailed
@pytest.mark.skipif(PYTHON is None, reason="no Python 3.11 or later that a normal user can run")
def test_inside_a_container_the_rest_still_holds(monkeypatch, tmp_path):
    """Without Landlock, said to be in a container: the user, the filter and the limits are there."""
    _copy_with(tmp_path, "_landlock", "\n\ndef landlock_version():\n    return 0\n")
    monkeypatch.setattr(_prisoner, "ROOT", tmp_path)
    settings = {"inside_container": True, "interpreter": PYTHON}
    require_sandbox(**settings)
    for name in ("tcp server", "forks", "threads", "kills its parent", "becomes root", "exits hard"):
        program, right = hostile.programs(tmp_path)[name]
        assert run_program(program, SMALL, **settings).kind in right


@jailed
@pytest.mark.skipif(os.geteuid() != 0 or sys.executable == PYTHON, reason="Python lies where all can read it")
def test_root_keeps_no_capability_without_landlock(monkeypatch, tmp_path):
    _copy_with(tmp_path, "_landlock", "\n\ndef landlock_version():\n    return 0\n")
    monkeypatch.setattr(_prisoner, "ROOT", tmp_path)
    with pytest.raises(BadInput, match="user 65534 cannot read Python's own files"):
        require_sandbox(inside_container=True)


def _copy_with(root: Path, module: str, more: str) -> None:
    """A copy of the sandbox under `root` with lines added to one of its modules."""
    for path in ("__init__.py", "core", "evaluation/__init__.py", "evaluation/code"):
        place = root / "stillroom" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        source = SOURCE / "stillroom" / path
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place)
    file = root / "stillroom/evaluation/code" / f"{module}.py"
    file.write_text(file.read_text() + more)


def test_other_systems_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(BadInput, match="Linux only"):
        run_program("pass")


def test_no_call_is_listed_twice_and_both_machines_are_covered():
    for machine, (column, _) in ARCHITECTURES.items():
        calls = [call for kinds in DENIED.values() for call in kinds[column]]
        calls += [*ITSELF_ONLY[column], FCNTL[column], PRCTL[column], *(call for call, _ in OPEN[column])]
        assert len(calls) == len(set(calls)), machine
