"""The nfqueue backend's user-space side: packet ids from the kernel's queues, through their lines, verdicts back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chaos.agent.shaper.kernel import entered
from chaos.agent.shaper.lines import Counts, Lines
from chaos.agent.shaper.nfqueue import (
    ACCEPT,
    DROP,
    ID_AT,
    IPV4_HEADER,
    MESSAGE_MAX,
    NUMBER_AT,
    PACKET,
    Queues,
    content_of,
    verdict_prefix,
    verdict_with,
)
from chaos.agent.shaper.pipelines import pipelines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from chaos.agent.shaper.model import Line
    from chaos.agent.shaper.pipelines import Pipeline
    from chaos.agent.shaper.schedule import Schedule
    from chaos.agent.shaper.values import Port, Rule

BURST = 64


class QueueLane:
    """One queue: what one node receives from one other."""

    __slots__ = ("_accept", "_drop", "_queues", "_size", "counts", "held", "lines", "number")

    def __init__(self, queues: Queues, number: int) -> None:
        self._queues = queues
        self.number = number
        self._accept, self._drop = verdict_prefix(number, ACCEPT), verdict_prefix(number, DROP)
        self._size = -1
        self.lines: tuple[Line, ...] = ()
        self.counts = Counts()
        self.held = 0
        queues.bind(number)

    def set(self, lines: tuple[Line, ...]) -> None:
        """Let later packets meet these lines, one after the other."""
        size = 0
        if any(line.asked.rate_bit_s is not None for line in lines):
            size = IPV4_HEADER  # for the packet's length
        if any(line.corrupts for line in lines):
            size = MESSAGE_MAX
        if size != self._size:
            self._queues.copy(self.number, size)
            self._size = size
        self.lines = lines

    def take(self, schedule: Schedule, data: memoryview) -> None:
        """Decide on one packet."""
        self.counts.seen += 1
        now_ns = due_ns = time.monotonic_ns()
        content = content_of(data) if self._size else b""
        length = int.from_bytes(content[2:4], "big")  # the IPv4 header's; 0 if no line asks for it
        packet_id = bytes(data[ID_AT : ID_AT + 4])
        for line in self.lines:
            if line.constant_ns is not None:
                due_ns += line.constant_ns
                continue
            releases = line.releases(due_ns, length)
            if not releases:
                self.counts.dropped += 1
                self._queues.send(self._drop + packet_id)
                return
            due_ns = releases[0]
        self._hold(schedule, now_ns, due_ns, self._verdict(packet_id, content))

    def _verdict(self, packet_id: bytes, content: bytes) -> bytes:
        damaged = content
        for line in self.lines:
            if line.corrupts and line.flips():
                damaged = line.flip(damaged, IPV4_HEADER)
        if damaged is content:
            return self._accept + packet_id
        self.counts.corrupted += 1
        return verdict_with(self.number, packet_id, damaged)

    def _hold(self, schedule: Schedule, now_ns: int, due_ns: int, verdict: bytes) -> None:
        if due_ns <= now_ns:
            self.emit(verdict)
        elif not schedule.put(due_ns, self, verdict):
            self.counts.overflow += 1
            self.emit(self._drop + verdict[ID_AT + 4 : ID_AT + 8])

    def emit(self, payload: bytes) -> None:
        """Send a verdict."""
        try:
            self._queues.send(payload)
        except OSError:
            self.counts.failed += 1


class Receiver:
    """One node's namespace: its queues, made when first needed (binding one takes the kernel 10 to 20 ms)."""

    def __init__(self, port: Port) -> None:
        self.port = port
        with entered(port.node_netns):
            self.queues = Queues()
        self.lanes: dict[int, QueueLane] = {}
        self._buffer = bytearray(MESSAGE_MAX)
        self._view = memoryview(self._buffer)

    def set(self, plan: Mapping[int, Pipeline], lines: Mapping[str, Lines], schedule: Schedule) -> None:
        """Let each queue meet its pipeline; a queue without one lets go of what it holds."""
        for number, pipeline in plan.items():
            if pipeline and number not in self.lanes:
                self.lanes[number] = QueueLane(self.queues, number)
            if number in self.lanes:
                found = (lines[node].of(rule) for node, rule in pipeline)
                self.lanes[number].set(tuple(line for line in found if line is not None))
                if not pipeline:
                    schedule.flush(self.lanes[number])
        for data in self.queues.pending():
            self._take(schedule, memoryview(data))

    def drain(self, schedule: Schedule) -> bool:
        """Read a burst of packets and decide on each; True if there are no more."""
        view, receive_into = self._view, self.queues.receive_into
        for _ in range(BURST):
            try:
                size = receive_into(view)
            except BlockingIOError:
                return True
            self._take(schedule, view[:size])
        return False

    def _take(self, schedule: Schedule, data: memoryview) -> None:
        if data[4] == PACKET and data[5] == 3:
            self.lanes[data[NUMBER_AT] << 8 | data[NUMBER_AT + 1]].take(schedule, data)


class QueuePath:
    """All nodes."""

    def __init__(self, ports: Sequence[Port], schedule: Schedule) -> None:
        self._ports = tuple(ports)
        self._schedule = schedule
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._lines = {port.node: Lines() for port in ports}
        self._receivers = [Receiver(port) for port in ports]

    def sources(self) -> Mapping[int, Callable[[Schedule], bool]]:
        """Descriptor → what to call when it is readable."""
        return {receiver.queues.fd: receiver.drain for receiver in self._receivers}

    def set(self, node: str, rules: Sequence[Rule]) -> None:
        """Have the queues ready for a node's rules; the client then sends packets into them."""
        self._rules[node] = tuple(rules)
        self._lines[node].keep(rules)
        for receiver in self._receivers:
            plan = pipelines(self._rules, self._ports, receiver.port)
            receiver.set(plan, self._lines, self._schedule)

    def counts(self) -> Mapping[str, Counts]:
        """Counters a node, of what it received."""
        total = {port.node: Counts() for port in self._ports}
        for receiver in self._receivers:
            for lane in receiver.lanes.values():
                total[receiver.port.node].add(lane.counts)
                total[receiver.port.node].held += lane.held
        return total

    def close(self) -> None:
        """Accept what is still queued, release what is held, let go of the queues."""
        for node in self._lines:
            self.set(node, ())
        for receiver in self._receivers:
            while not receiver.drain(self._schedule):
                pass
        self._schedule.flush()
        for receiver in self._receivers:
            receiver.queues.close()
