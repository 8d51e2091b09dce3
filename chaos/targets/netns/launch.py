"""The controller's end of a lab's init: starting it, holding it, ending it.

A thread of its own starts the init and stays until it has ended: the kernel's PDEATHSIG follows the *thread* that
forked, and a lab opened from a pool of workers must not die with a worker.
"""

from __future__ import annotations

import contextlib
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

from chaos.environment import of_children
from chaos.errors import TargetError
from chaos.jsonlines import JsonLines
from chaos.piped import PipedProcess, last_line

if TYPE_CHECKING:
    from chaos.jsonlines import Said
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
        self._process, self._log = PipedProcess(started, log), log
        self._said: queue.Queue[Said] = queue.Queue()
        self._lines = JsonLines(self._process, name=f"lab-{plan.id}", heard=self._said.put, ended=self._died)
        self._pidfd, self._ended = -1, False
        self.pid = 0
        self.netns: dict[str, int] = {}
        try:
            self._agree(plan)
        except BaseException:  # also Ctrl-C: the init must not outlive its launch
            self.end()
            raise

    def _agree(self, plan: Plan) -> None:
        deadline = time.monotonic() + _UP_S
        self._lines.say(asdict(plan))
        self.pid = self._told("pid", deadline)
        self._pidfd = os.pidfd_open(self.pid)
        self.netns = dict(self._told("netns", deadline))

    def _told(self, key: str, deadline: float) -> Any:
        """Listen on until the init has told `key`."""
        while True:
            try:
                said = self._said.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                said = {"error": f"its init is not up after {_UP_S} s; its log ends: {last_line(self._log)}"}
            if "error" in said:
                raise TargetError(f"no lab: {said['error']}")
            if key in said:
                return said[key]

    def _died(self) -> None:
        self._said.put({"error": f"its init {self._process.fate()}"})

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
                self._lines.end(0.0)  # an init that has not told its pid goes with who forked it, by PDEATHSIG
            else:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._thread.join(_DOWN_S)
        if self.alive or (self._pidfd >= 0 and not readable(self._pidfd, _DOWN_S)):
            raise TargetError(f"the lab's init, pid {self.pid}, would not die within {_DOWN_S} s")
        self._ended = True
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._lines.end(0.0)


def readable(fd: int, timeout_s: float) -> bool:
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
                env=of_children(),
            )
    except OSError as error:
        box.put(error)
        return
    box.put(process)
    process.wait()
