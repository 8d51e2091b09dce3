"""A second process that watches the daemon's pulse, so that a hung daemon is no broken network.

    daemon ── beat() each turn of its loop ──▶ shared page ◀── looks every 50 ms ── watchdog
                                                                 no beat for 0.8 s: SIGKILL ─▶ the kernel's own path

It is forked before links and TAPs exist, so it holds none of them open. It counts its own looks instead of reading a
clock: a machine that stood still as a whole kills nobody. It ends when the daemon does.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import struct

LOOK_EVERY_MS = 50
LOOKS_REALTIME = 16  # 0.8 s: a hung daemon heals within a second, and a machine that is busy with others kills none
LOOKS_ORDINARY = 40  # 2 s: without real-time priority a loaded machine may simply not let the daemon run
PRIORITY = 20  # above the daemon's


class Pulse:
    """The shared page, and the pipe whose end tells the watchdog that the daemon is gone."""

    __slots__ = ("_beats", "_page", "_pipe", "pid")

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)
        self._beats = 0
        self._pipe = os.pipe()
        self.pid = 0

    def beat(self) -> None:
        """Say that the daemon lives."""
        self._beats += 1
        struct.pack_into("Q", self._page, 0, self._beats)

    def rest(self) -> None:
        """Say that the daemon is about to end, which may take a while."""
        self._beats = 0
        struct.pack_into("Q", self._page, 0, 0)

    def beats(self) -> int:
        """How often it has said so."""
        beats: int = struct.unpack_from("Q", self._page, 0)[0]
        return beats

    def fork_watchdog(self, *, realtime: bool) -> None:
        """Start watching the calling process from now on; OSError if it can't be forked."""
        daemon = os.getpid()
        self.pid = os.fork()
        if self.pid:
            os.close(self._pipe[0])
            return
        try:
            os.close(self._pipe[1])
            self._watch(daemon, LOOKS_REALTIME if realtime else LOOKS_ORDINARY)
        finally:
            os._exit(0)  # never into the daemon's code

    def _watch(self, daemon: int, looks: int) -> None:
        _close_all_but(self._pipe[0])
        _raise_priority()
        seen, stale = -1, 0
        ended = select.poll()
        ended.register(self._pipe[0], select.POLLHUP)
        while not ended.poll(LOOK_EVERY_MS):
            stale = stale + 1 if self.beats() == seen else 0
            seen = self.beats()
            if seen and stale >= looks:  # zero: it is still attaching, or ending
                os.kill(daemon, signal.SIGKILL)
                return


def _close_all_but(kept: int) -> None:
    os.closerange(3, kept)
    os.closerange(kept + 1, 1 << 16)


def _raise_priority() -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        return  # then the daemon has none either
