"""What both kinds of init do all day: wait for an asker, for a child's end, for whatever else they watch."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Loop:
    """One thread, one callback at a time; SIGCHLD is turned into a callback by the wake-up descriptor."""

    def __init__(self, on_child: Callable[[], None]) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, woken_by = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, _noted)
        signal.set_wakeup_fd(woken_by)
        self._on_child = on_child
        self.watch(self._wake, self._child)

    def watch(self, fd: int, ready: Callable[[], None]) -> None:
        """Call `ready` whenever `fd` can be read."""
        self._selector.register(fd, selectors.EVENT_READ, ready)

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer."""
        self._selector.unregister(fd)

    def run(self) -> NoReturn:
        """Serve for ever."""
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _child(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake, 4096)
        self._on_child()


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Make SIGCHLD arrive at the wake-up descriptor at all: an ignored signal does not."""


def ended_children() -> Iterator[tuple[int, int]]:
    """Reap every child that has ended: (pid, exit code, negative if ended by a signal)."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            yield pid, os.waitstatus_to_exitcode(status)


def is_stopped(pid: int) -> bool:
    """Return whether the process `pid` of this PID namespace is stopped by a signal (state T of proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - hot and tiny
            return file.read().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


def rows_stopped(rows: list[dict[str, Any]], pid_key: str, *, frozen: bool) -> list[dict[str, Any]]:
    """Return the rows with `stopped` as it is now."""
    return [{**row, "stopped": row["exit_code"] is None and (frozen or is_stopped(row[pid_key]))} for row in rows]
