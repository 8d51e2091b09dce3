"""Packets that wait for their release time, in one heap for all lanes of a daemon."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

PACKETS_MAX = 100_000
BYTES_MAX = 512 << 20  # of frames held in user space: 0.2 s at 20 Gbit/s


class Lane(Protocol):
    """Where a packet leaves; it counts its own."""

    held: int

    def emit(self, payload: bytes) -> None:
        """Let a packet go."""
        ...


class Schedule:
    """A heap of packets by release time; equal times leave in the order in which they came."""

    __slots__ = ("_bytes", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Lane, bytes]] = []
        self._serial = 0
        self._bytes = 0

    def put(self, due_ns: int, lane: Lane, payload: bytes) -> bool:
        """Hold a packet until `due_ns`; False if there is no room for it."""
        if len(self._heap) >= PACKETS_MAX or self._bytes >= BYTES_MAX:
            return False
        self._serial += 1
        self._bytes += len(payload)
        lane.held += 1
        heapq.heappush(self._heap, (due_ns, self._serial, lane, payload))
        return True

    def next_ns(self) -> int:
        """When the next packet is due; 0 if none is held."""
        return self._heap[0][0] if self._heap else 0

    def release(self, clock_ns: Callable[[], int]) -> None:
        """Let everything go that is due by now; `clock_ns` is read again as long as something leaves."""
        heap = self._heap
        while heap and heap[0][0] <= clock_ns():
            _, _, lane, payload = heapq.heappop(heap)
            self._leave(lane, payload)

    def flush(self, lane: Lane | None = None) -> None:
        """Let everything of a lane (None: of all) go now, in the order of its release times."""
        leaving = sorted(item for item in self._heap if lane is None or item[2] is lane)
        self._heap = [item for item in self._heap if lane is not None and item[2] is not lane]
        heapq.heapify(self._heap)
        for _, _, owner, payload in leaving:
            self._leave(owner, payload)

    def _leave(self, lane: Lane, payload: bytes) -> None:
        self._bytes -= len(payload)
        lane.held -= 1
        lane.emit(payload)
