"""A child process as a jsonlines.Channel: its standard input and output are pipes, its standard error is a log.

end of its input ──▶ it ends by itself │ after a grace SIGKILL ──▶ how it ended, and the last line of its log
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FATE_S = 2.0  # a process that has closed its output is about to end


class PipedProcess:
    """A process started with stdin and stdout as subprocess.PIPE; `log` is where its standard error goes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path | None = None) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._log = process, log
        self._stdin, self._stdout = process.stdin, process.stdout

    @property
    def pid(self) -> int:
        """Its process id here."""
        return self._process.pid

    def send(self, line: bytes) -> None:
        """Write to its standard input; OSError if it is closed there, ValueError if it is here."""
        self._stdin.write(line)
        self._stdin.flush()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of its standard output, then close that."""
        with self._stdout:
            yield from self._stdout

    def end(self, grace_s: float) -> None:
        """Close its standard input and wait `grace_s`, then kill. Idempotent."""
        hanging_up = threading.Thread(target=self._hang_up, name=f"hang-up-{self.pid}", daemon=True)
        hanging_up.start()  # closing waits for a write that it may never read, until it is killed
        ended(self._process, grace_s)
        hanging_up.join(FATE_S)

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # it is dead, and what is in the buffer has nobody to read it
            self._stdin.close()

    def fate(self, why: str = "") -> str:
        """Return how it ended and `why`, or else the last line of its log."""
        try:
            code = self._process.wait(FATE_S)
        except subprocess.TimeoutExpired:
            return "still runs, but neither listens nor speaks"
        how = f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        why = why or last_line(self._log)
        return f"{how}: {why}" if why else how


def ended(process: subprocess.Popen[bytes], grace_s: float) -> bool:
    """Wait for the end of a process; False if it had to be killed after `grace_s`."""
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def last_line(log: Path | None) -> str:
    """Return the last line of a log; "" if there is none."""
    if log is None or not log.exists():
        return ""
    return (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""])[-1]
