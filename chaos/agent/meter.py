"""Sends and receives our own measuring packets: one process with a UDP socket in every node's network namespace.

      etcd1 ○──── stamped packet ────▶ path under test ────▶ ○ etcd2
             └────────── the same process, the same clock ──────────┘

One process at both ends means one CLOCK_MONOTONIC, so one-way delays need no synchronised clocks. Stamps are taken
in user space: kernel receive stamps come before PREROUTING and would not see an NFQUEUE's delay. SCHED_FIFO and a
timer slack of 1 ns (prctl(2)) keep the meter's own noise near 30 µs where the kernel grants them.

`python -m chaos.agent.meter` speaks JSON lines: {"id", "nodes": {name: [netns fd, address]}} first, then requests
{"id", "flows": [flow.Asked…], "tail_s", "capture"}; it answers {"id", "realtime", "ports"} (where it listens, for the
meters of other machines), then {"id", "flows": [results]} or {"id", "error"}. Of a flow that another machine's meter
sends, {"id", "listen": [flow.Asked…]} is answered at once: from then on its packets count, until {"id", "collect":
[number…], "tail_s"} is answered as a request of one's own is.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.agent.flow import MAGIC, NS, STAMP, Asked, Flow
from chaos.agent.pcapng import ARRIVED, SENT, Captured, render

if TYPE_CHECKING:
    from collections.abc import Mapping

PR_SET_TIMERSLACK = 29
PRIORITY = 8  # below the shaper: measuring must not delay what it measures
SO_NO_CHECK = 11  # socket(7): no UDP checksum
BURST = 64
CAPTURED_MAX = 4000  # sent packets in a capture; each with all its arrivals
BUFFER = 4 << 20
LISTENED_NS = 600 * NS  # a flow that nobody has collected by then nobody will
COPIES_NS = 20_000_000  # when everything has arrived, wait this long for duplicates


@dataclass(slots=True, eq=False)
class Task:
    """A request under way: its flows, and when the last packet may still be waited for."""

    id: Any
    flows: list[Flow]
    tail_ns: int
    capture: str
    captured: list[Captured] = field(default_factory=list)
    stamps: set[bytes] = field(default_factory=set)  # of the sent packets in the capture
    done_ns: int | None = None

    def finish_ns(self, now_ns: int) -> int | None:
        """Return when to stop waiting; None while there is something to send."""
        if not all(flow.done for flow in self.flows):
            return None
        if self.done_ns is None:
            self.done_ns = now_ns
        if all(flow.whole for flow in self.flows):
            last_ns = max(flow.last_ns or 0 for flow in self.flows)
            return min(self.done_ns + self.tail_ns, last_ns + COPIES_NS)
        return self.done_ns + self.tail_ns


class Meter:
    """All flows of all requests, in one loop."""

    def __init__(self, nodes: Mapping[str, tuple[int, str]]) -> None:
        self._plain: dict[str, socket.socket] = {}
        self._unchecked: dict[str, socket.socket] = {}
        for name, (netns, address) in nodes.items():
            self._plain[name] = _bound(netns, address, unchecked=False)
            self._unchecked[name] = _bound(netns, address, unchecked=True)
        self._flows: dict[int, tuple[Flow, Task | None]] = {}  # None: listened to, and not yet collected
        self._answers: list[dict[str, Any]] = []  # that wait for nothing
        self._tasks: list[Task] = []
        self._count = 0
        self._wall_ns = time.time_ns() - time.monotonic_ns()

    @property
    def ports(self) -> dict[str, list[int]]:
        """Where each node's sockets listen: plain, unchecked."""
        return {
            name: [self._plain[name].getsockname()[1], self._unchecked[name].getsockname()[1]] for name in self._plain
        }

    def add(self, request: Mapping[str, Any]) -> None:
        """Begin a request; KeyError, TypeError or ValueError if it makes no sense."""
        if "collect" in request:
            self._collect(request)
            return
        listens = "listen" in request
        asked = [Asked.read(data) for data in request["listen" if listens else "flows"]]
        for one in asked:
            if listens != (one.elsewhere == "source"):
                raise ValueError(f"{one}: what is listened to, and nothing else, comes from elsewhere")
            if missing := [end for what, end in _ends(one) if what != one.elsewhere and end not in self._plain]:
                raise KeyError(f"no node {' or '.join(missing)} here")
        start_ns = time.monotonic_ns() + 1_000_000
        flows = [
            Flow(one.number if one.elsewhere else self._count + i, one, start_ns + i * 100_000)
            for i, one in enumerate(asked)
        ]
        if listens:
            self._listen(request["id"], flows)
            return
        self._count += len(flows)
        task = Task(request["id"], flows, round(request.get("tail_s", 0.3) * NS), request.get("capture") or "")
        self._tasks.append(task)
        self._flows.update({flow.number: (flow, task) for flow in flows})

    def _listen(self, number: Any, flows: list[Flow]) -> None:
        late_ns = time.monotonic_ns() - LISTENED_NS
        for old in [n for n, (flow, task) in self._flows.items() if task is None and flow.start_ns < late_ns]:
            del self._flows[old]
        self._flows.update({flow.number: (flow, None) for flow in flows})
        self._answers.append({"id": number, "listening": len(flows)})

    def _collect(self, request: Mapping[str, Any]) -> None:
        flows = [self._flows[number][0] for number in request["collect"]]
        task = Task(request["id"], flows, round(request.get("tail_s", 0.3) * NS), "")
        self._tasks.append(task)
        self._flows.update({flow.number: (flow, task) for flow in flows})

    def step(self, extra: list[int]) -> tuple[list[dict[str, Any]], list[int]]:
        """Wait for the next thing, do it; return finished answers, and which of `extra` is readable."""
        sockets = [*self._plain.values(), *self._unchecked.values()]
        waited: list[Any] = [*sockets, *extra]
        ready, _, _ = select.select(waited, [], [], self._wait_s())
        for one in ready:
            if isinstance(one, socket.socket):
                self._receive(one)
        self._send(time.monotonic_ns())
        return self._finished(time.monotonic_ns()), [one for one in ready if isinstance(one, int)]

    def _wait_s(self) -> float | None:
        now_ns = time.monotonic_ns()
        if self._answers:
            return 0.0
        times = [flow.due_ns() for flow, _ in self._flows.values() if not flow.done]
        times += [end for task in self._tasks if (end := task.finish_ns(now_ns)) is not None]
        return max(0.0, (min(times) - now_ns) / NS) if times else None

    def _send(self, now_ns: int) -> None:
        for flow, task in self._flows.values():
            for _ in range(BURST):
                if task is None or flow.done or flow.due_ns() > now_ns:
                    break
                self._send_one(flow, task)

    def _send_one(self, flow: Flow, task: Task) -> None:
        sockets = self._unchecked if flow.asked.unchecked else self._plain
        source = sockets[flow.asked.source]
        sink = tuple(flow.asked.to) if flow.asked.elsewhere else sockets[flow.asked.sink].getsockname()
        at_ns = time.monotonic_ns()
        payload = flow.packet(at_ns)
        try:
            source.sendto(payload, sink)
        except OSError:
            flow.refused += 1
        else:
            self._keep(task, SENT, at_ns, (source.getsockname(), sink), payload)

    def _keep(self, task: Task | None, where: int, at_ns: int, ends: tuple[Any, Any], payload: bytes) -> None:
        """Note a packet for the capture; a packet that a fault swallows is there once, sent and never arrived.

        So a capture that is full takes no more that is sent, and still what was sent before and arrives now.
        """
        if task is None or not task.capture:
            return
        stamp = payload[: STAMP.size]
        if len(task.stamps) >= CAPTURED_MAX and (where == SENT or stamp not in task.stamps):
            return
        if where == SENT:
            task.stamps.add(stamp)
        task.captured.append(Captured(where, at_ns + self._wall_ns, *ends, stamp, len(payload)))

    def _receive(self, sink: socket.socket) -> None:
        for _ in range(BURST):
            try:
                payload, source = sink.recvfrom(65536)
            except OSError:  # nothing more, or an ICMP error of an earlier packet
                return
            now_ns = time.monotonic_ns()
            if len(payload) < STAMP.size:
                continue
            magic, number, sequence, stamp_ns = STAMP.unpack_from(payload)
            if magic != MAGIC or number not in self._flows:
                continue
            flow, task = self._flows[number]
            flow.arrived(sequence, stamp_ns, now_ns, payload)
            self._keep(task, ARRIVED, now_ns, (source, sink.getsockname()), payload)

    def _finished(self, now_ns: int) -> list[dict[str, Any]]:
        over = [t for t in self._tasks if (end := t.finish_ns(now_ns)) is not None and end <= now_ns]
        self._tasks = [task for task in self._tasks if task not in over]
        at_once, self._answers = self._answers, []
        return [*at_once, *(self._answer(task) for task in over)]

    def _answer(self, task: Task) -> dict[str, Any]:
        for flow in task.flows:
            del self._flows[flow.number]
        answer = {"id": task.id, "flows": [flow.result() for flow in task.flows]}
        if task.capture:
            with contextlib.suppress(OSError):  # the file is then not there, and no evidence names it
                Path(task.capture).write_bytes(render(task.captured))
        return answer


def _ends(asked: Asked) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("source", asked.source), ("sink", asked.sink)


def _bound(netns: int, address: str, *, unchecked: bool) -> socket.socket:
    from chaos.agent.ground import inside  # noqa: PLC0415 - keeps the meter's start light

    with inside(netns):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    one.setblocking(False)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    if unchecked:
        one.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    one.bind((address, 0))
    return one


def be_punctual() -> bool:
    """Ask for real-time priority, exact timers, no collector pauses; tell whether the priority was given."""
    gc.disable()
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        return False
    return True


def main() -> None:
    """Serve until the end of stdin."""
    pending = b""
    meter: Meter | None = None
    realtime = be_punctual()
    while True:
        answers, ready = meter.step([0]) if meter else ([], [0])
        for answer in answers:
            _say(answer)
        if 0 not in ready:
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            meter = _take(meter, json.loads(line), realtime=realtime)


def _take(meter: Meter | None, request: dict[str, Any], *, realtime: bool) -> Meter:
    if meter is None:
        meter = Meter({name: (fd, address) for name, (fd, address) in request["nodes"].items()})
        _say({"id": request["id"], "realtime": realtime, "ports": meter.ports})
        return meter
    try:
        meter.add(request)
    except (KeyError, TypeError, ValueError) as error:
        _say({"id": request.get("id"), "error": f"measure: {error}"})
    return meter


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
