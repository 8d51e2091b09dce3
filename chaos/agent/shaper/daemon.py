"""The process that packets pass through: `python -m chaos.agent.shaper.daemon FD`.

    control socket (JSON, one object a message) ─┐
    queues of packets ───────────────────────────┼─ epoll ─▶ decide ─▶ heap ─ timer ─▶ release
    timer ───────────────────────────────────────┘

FD is a SOCK_SEQPACKET. The first message opens: {"backend", "ports"} with the ports' namespaces as inherited
descriptors. Then {"op": "set" | "state"}; each is answered, with {"error": …} if it failed. When the other
end closes, for whatever reason, everything is taken back and the process ends.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from chaos.agent.shaper.kernel import Timer, be_punctual
from chaos.agent.shaper.queuelane import QueuePath
from chaos.agent.shaper.schedule import Schedule
from chaos.agent.shaper.taplane import TapPath
from chaos.agent.shaper.values import Port, ShaperError, rules_from_json
from chaos.agent.shaper.watchdog import Pulse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.agent.shaper.lines import Counts
    from chaos.agent.shaper.values import Rule

PRIORITY = 10
IDLE_S = 0.1  # the longest time between two beats
MESSAGE_MAX = 1 << 20


class Path(Protocol):
    """How packets come to us and go back: taplane.TapPath or queuelane.QueuePath."""

    def sources(self) -> Mapping[int, Callable[[Schedule], bool]]:
        """Descriptor → what to call when it is readable; asked again after each `set`."""
        ...

    def set(self, node: str, rules: Sequence[Rule]) -> None:
        """Replace what is in force on a node."""
        ...

    def counts(self) -> Mapping[str, Counts]:
        """Counters a node."""
        ...

    def close(self) -> None:
        """Off, release, detach."""
        ...


def open_path(backend: str, ports: Sequence[Port], schedule: Schedule) -> Path:
    """Attach a backend of this daemon; OSError or ShaperError."""
    if backend == "tap":
        return TapPath(ports, schedule)
    return QueuePath(ports, schedule)


class Daemon:
    """The loop."""

    def __init__(self, control: socket.socket, pulse: Pulse, *, realtime: bool) -> None:
        self._control, self._pulse, self._realtime = control, pulse, realtime
        self._schedule = Schedule()
        self._timer = Timer()
        self._epoll = select.epoll()
        self._sources: dict[int, Callable[[Schedule], bool]] = {}
        self._running = True
        self._message = bytearray(MESSAGE_MAX)
        self._path = self._open()

    def _open(self) -> Path:
        asked = json.loads(self._control.recv(MESSAGE_MAX))
        try:
            path = open_path(asked["backend"], [Port(**port) for port in asked["ports"]], self._schedule)
        except (OSError, ShaperError) as error:
            self._answer({"error": f"{asked['backend']}: {error}"})
            raise SystemExit(1) from error
        self._answer({"realtime": self._realtime, "watchdog": self._pulse.pid})
        self._epoll.register(self._control.fileno(), select.EPOLLIN)
        self._epoll.register(self._timer.fd, select.EPOLLIN)
        return path

    def run(self) -> None:
        """Carry packets until told to close or left alone."""
        self._listen()
        poll, release, schedule, sources = self._epoll.poll, self._schedule.release, self._schedule, self._sources
        clock_ns, beat, arm = time.monotonic_ns, self._pulse.beat, self._timer.arm
        while self._running:
            beat()
            release(clock_ns)
            arm(schedule.next_ns())
            for fd, _ in poll(IDLE_S):
                drain = sources.get(fd)
                if drain is not None:
                    drain(schedule)
                elif fd == self._timer.fd:
                    self._timer.rang()
                else:
                    self._obey()
        self._pulse.rest()
        self._path.close()

    def _listen(self) -> None:
        for fd, drain in self._path.sources().items():
            if fd not in self._sources:
                self._epoll.register(fd, select.EPOLLIN)
            self._sources[fd] = drain

    def _obey(self) -> None:
        size = self._control.recv_into(self._message)  # a fresh, locked megabyte each time costs a millisecond
        if not size:
            self._running = False
            return
        try:
            self._answer(self._carry_out(json.loads(self._message[:size])))
        except (OSError, ShaperError) as error:
            self._answer({"error": str(error)})

    def _carry_out(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if asked["op"] == "set":
            self._path.set(asked["node"], rules_from_json(asked["rules"]))
            self._listen()
            return {}
        return {"nodes": {node: asdict(counts) for node, counts in self._path.counts().items()}}

    def _answer(self, reply: Mapping[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # the asker is gone: the next read says so and ends us
            self._control.send(json.dumps(reply).encode())


def main(fd: int) -> None:
    """Serve one client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the controller, which heals in order
    realtime = be_punctual(PRIORITY)
    pulse = Pulse()
    pulse.fork_watchdog(realtime=realtime)
    Daemon(socket.socket(fileno=fd), pulse, realtime=realtime).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
