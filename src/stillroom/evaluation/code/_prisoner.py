"""One process in the sandbox, from its start to the last trace of it, as its caller sees it."""

import json
import os
import secrets
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from stillroom.core.errors import BadInput
from stillroom.evaluation.code.outcome import KINDS, Kind, Limits, Outcome

ROOT = Path(__file__).parents[3]
"""The folder in which the package lies; the process reads its own side of the sandbox from there."""

START_SECONDS = 60.0
"""For Python to start and lock itself in, on a machine that is busy with other things."""
GLANCE_SECONDS = 0.05
MAX_FILES = 32


class Prisoner:
    """Starts when it is made; `watch` returns what came of it; leaving the `with` block ends it, whatever it does."""

    def __init__(
        self, program: str, limits: Limits, folder: str, inside_container: bool, interpreter: str
    ) -> None:
        self.limits = limits
        self.folder = folder
        self.nonce = secrets.token_hex(16)
        nonce_read, nonce_write = os.pipe()
        self.report, report_write = os.pipe()
        try:
            os.write(nonce_write, self.nonce.encode())
            job = {
                "program": program,
                "caller": os.getpid(),
                "cpu_seconds": limits.seconds,
                "memory_bytes": limits.memory_bytes,
                "file_bytes": limits.file_bytes,
                "inside_container": inside_container,
                "nonce": nonce_read,
                "report": report_write,
            }
            with tempfile.TemporaryFile() as file:
                file.write(json.dumps(job).encode())
                file.seek(0)
                self.process = self._start(file, (nonce_read, report_write), interpreter)
        except BaseException:
            os.close(self.report)
            raise
        finally:
            for pipe in (nonce_read, nonce_write, report_write):
                os.close(pipe)

    def _start(self, job: IO[bytes], pipes: tuple[int, int], interpreter: str) -> subprocess.Popen[bytes]:
        door = (
            f"import sys; sys.path.append({str(ROOT)!r}); from stillroom.evaluation.code._jail import main; "
            "sys.path.pop(); main()"
        )
        # -P -s is -I but for the environment, and that holds one line: the order of sets is the same every time.
        return subprocess.Popen(
            [interpreter, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", door],
            stdin=job,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={"PYTHONHASHSEED": "0"},
            pass_fds=pipes,
            start_new_session=True,
        )

    def __enter__(self) -> "Prisoner":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.returncode is None:  # not yet waited for, so its number belongs to it and nobody else
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self.report)

    def watch(self) -> Outcome:
        stdout = self.process.stdout
        assert stdout is not None
        said: dict[int, bytearray] = {stdout.fileno(): bytearray(), self.report: bytearray()}
        started: float | None = None
        deadline = time.monotonic() + START_SECONDS
        ended: tuple[Kind, str] | None = None
        with selectors.DefaultSelector() as selector:
            for pipe in said:
                selector.register(pipe, selectors.EVENT_READ)
            while ended is None:
                if not selector.get_map() and self._gone():
                    break
                self._listen(selector, said)
                now = time.monotonic()
                if started is None and said[self.report].startswith(b"ready\n"):
                    started, deadline = now, now + self.limits.patience
                ended = self._too_much(said, now > deadline)
        output = said[stdout.fileno()][: self.limits.output_bytes].decode(errors="replace")
        if started is None:
            raise self._not_started(bytes(said[self.report]), output)
        kind, detail = ended or self._verdict(bytes(said[self.report]))
        return Outcome(kind, detail, output, time.monotonic() - started)

    def _listen(self, selector: selectors.BaseSelector, said: dict[int, bytearray]) -> None:
        if not selector.get_map():  # it closed its pipes and goes on
            time.sleep(GLANCE_SECONDS)
        for key, _ in selector.select(GLANCE_SECONDS):
            chunk = os.read(key.fd, 65536)
            if chunk:
                said[key.fd] += chunk
            else:
                selector.unregister(key.fd)

    def _gone(self) -> bool:
        """Whether the process has ended, without taking its number away."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.process.pid, flags) is not None

    def _too_much(self, said: dict[int, bytearray], too_late: bool) -> tuple[Kind, str] | None:
        if any(len(text) > self.limits.output_bytes for text in said.values()):
            return "output flood", f"more than {self.limits.output_bytes:,} bytes of output"
        sizes = []
        with os.scandir(self.folder) as files:
            for file in files:
                with suppress(FileNotFoundError):
                    sizes.append(file.stat(follow_symlinks=False).st_size)
                if len(sizes) > MAX_FILES:
                    return "forbidden", f"more than {MAX_FILES} files"
        if sum(sizes) > self.limits.folder_bytes:
            return "forbidden", f"more than {self.limits.folder_bytes:,} bytes of files"
        if too_late:
            return "timeout", f"not done after {self.limits.patience:g} seconds"
        return None

    def _not_started(self, report: bytes, output: str) -> BadInput:
        try:
            reason = json.loads(report)["refused"]
        except (ValueError, KeyError, TypeError):
            last_words = output.strip().splitlines()[-1:] or ["it said nothing"]
            reason = f"the sandbox did not start ({last_words[0]})"
        return BadInput(
            f"Generated code cannot be run here: {reason}; run in a container of its own and say so with "
            "--i-run-inside-a-container, or leave code exams out."
        )

    def _verdict(self, report: bytes) -> tuple[Kind, str]:
        """What the process said of itself, if it knows the nonce; otherwise how it died."""
        try:
            message = json.loads(report.rstrip(b"\n").split(b"\n")[-1])
        except (
            ValueError,
            RecursionError,
        ):  # the program can write there, too, ten thousand brackets if it likes
            message = None
        if isinstance(message, dict) and message.get("nonce") == self.nonce and message.get("kind") in KINDS:
            words = str(message.get("detail", ""))
            return message["kind"], words.encode(errors="replace").decode()  # half a surrogate is in no file
        return self._death()

    def _death(self) -> tuple[Kind, str]:
        code = self.process.wait()
        if -code in (signal.SIGXCPU, signal.SIGKILL):
            return "timeout", f"more than {self.limits.seconds:g} seconds of processor time"
        if code < 0:
            return "error", f"ended by signal {-code}"
        return "early exit", f"left with exit code {code} before its tests were over"
