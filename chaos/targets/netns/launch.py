"""The controller's end of a lab's init: starting it, holding it, ending it.

A thread of its own starts the init and stays until it has ended: the kernel's PDEATHSIG follows the *thread* that
forked, and a lab opened from a pool of workers must not die with a worker.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.errors import TargetError

if TYPE_CHECKING:
    from chaos.targets.netns.init import Plan

_UP_S = 20.0
_DOWN_S = 15.0
_ROOT = Path(__file__).resolve().parents[3]  # the folder that holds the package `chaos`


def python(module: str, call: str, *words: str) -> list[str]:
    """Return the command that runs `module.call` without site packages, and so in a fraction of the usual time.

    `words` are found in sys.argv[2:].
    """
    code = f"import sys; sys.path.insert(0, sys.argv[1]); from {module} import main; {call}"
    return [sys.executable, "-I", "-S", "-c", code, str(_ROOT), *words]


class Init:
    """A lab's init while it runs. `pid` is its pid here; `netns` maps nodes to its descriptors of their networks."""

    def __init__(self, plan: Plan, *, lock: int, log: Path) -> None:
        box: queue.Queue[subprocess.Popen[bytes] | OSError] = queue.Queue()
        self._thread = threading.Thread(target=_keep, args=(lock, log, box), name=f"lab-{plan.id}", daemon=True)
        self._thread.start()
        started = box.get()
        if isinstance(started, OSError):
            raise TargetError(f"can't start a lab's init: {started}") from started
        self._process = started
        self._log = log
        self._heard = b""
        self._pidfd, self._ended = -1, False
        self.pid = 0
        self.netns: dict[str, int] = {}
        try:
            self._agree(plan)
        except BaseException:  # also Ctrl-C: the init must not outlive its launch
            self.end()
            raise

    def _agree(self, plan: Plan) -> None:
        assert self._process.stdin is not None
        deadline = time.monotonic() + _UP_S
        with contextlib.suppress(BrokenPipeError):  # it died; its log says why
            self._process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
            self._process.stdin.flush()
        self.pid = self._told("pid", deadline)
        self._pidfd = os.pidfd_open(self.pid)
        self.netns = dict(self._told("netns", deadline))

    def _told(self, key: str, deadline: float) -> Any:
        """Read on until the init has told `key`."""
        while True:
            words = json.loads(self._line(deadline))
            if "error" in words:
                raise TargetError(f"no lab: {words['error']}")
            if key in words:
                return words[key]

    def _line(self, deadline: float) -> bytes:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            ready = _readable(out, deadline - time.monotonic())
            part = os.read(out, 1 << 16) if ready else b""
            if not part:
                why = "died" if ready else f"is not up after {_UP_S} s"
                raise TargetError(f"no lab: its init {why}; {self._log} ends: {self._last_words()}")
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        return " | ".join(lines) or "without a word"

    @property
    def alive(self) -> bool:
        """Whether the lab still stands."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Kill the lab and wait until the kernel has taken all of it; TargetError if it would not go. Idempotent."""
        if self._ended:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd < 0:
                self._process.kill()  # an init that has not told its pid goes with who forked it, by PDEATHSIG
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._thread.join(_DOWN_S)
        if self.alive or (self._pidfd >= 0 and not _readable(self._pidfd, _DOWN_S)):
            raise TargetError(f"the lab's init, pid {self.pid}, would not die within {_DOWN_S} s")
        self._ended = True
        self._close()

    def _close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _readable(fd: int, timeout_s: float) -> bool:
    """Wait for `fd` to be readable: a pidfd is when its process has ended."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))


def _keep(lock: int, log: Path, box: queue.Queue[subprocess.Popen[bytes] | OSError]) -> None:
    command = python("chaos.targets.netns.init", "main(int(sys.argv[2]))", str(os.getpid()))
    try:
        with log.open("ab") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                pass_fds=(lock,),
                start_new_session=True,
            )
    except OSError as error:
        box.put(error)
        return
    box.put(process)
    process.wait()
