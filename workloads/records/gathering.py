"""Records that wait until nothing of their partition is on its way: then all of them go at once.

    add ─▶ waiting (a queue a partition) ─take─▶ on their way ─landed─▶ the next may go

librdkafka would gather them itself, but from the sixth record on that is on its way it asks without a pause whether the
next may go (rdkafka_broker.c, rd_kafka_toppar_producer_serve: RD_KAFKA_IDEMP_MAX_INFLIGHT is compared with records,
not with requests). While answers are slow that costs a core for each broker, of the machine whose slowness is measured.
So it is given nothing that it could not send. One thread adds, another does the rest.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class _Waiting(NamedTuple, Generic[T]):
    since_ns: int
    record: T


class Gathering(Generic[T]):
    """The queues of `partitions` partitions; `most` records may wait, none longer than `patience_ns`."""

    def __init__(self, *, partitions: int, most: int, patience_ns: int) -> None:
        self._queues: tuple[deque[_Waiting[T]], ...] = tuple(deque() for _ in range(partitions))
        self._on_their_way = [0] * partitions
        self._most, self._patience_ns = most, patience_ns
        self._added = self._left = 0  # each is counted by one thread alone

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._added - self._left

    def add(self, record: T, partition: int, now_ns: int) -> bool:
        """Let a record wait; False if too many do."""
        if self.waiting >= self._most:
            return False
        self._added += 1
        self._queues[partition].append(_Waiting(now_ns, record))
        return True

    def take(self) -> Iterator[tuple[int, T]]:
        """Yield (partition, record) of those that may go; each counts as on its way until it has `landed`."""
        for partition in range(len(self._queues)):
            if self._on_their_way[partition] == 0:
                for record in self._leave(partition, len(self._queues[partition])):
                    self._on_their_way[partition] += 1
                    yield partition, record

    def landed(self, partition: int) -> None:
        """Count one off that was on its way, whatever became of it."""
        self._on_their_way[partition] -= 1

    def expired(self, now_ns: int) -> Iterator[tuple[int, T]]:
        """Yield (partition, record) of those that have waited too long; they wait no more."""
        for partition, queue in enumerate(self._queues):
            while queue and now_ns - queue[0].since_ns > self._patience_ns:
                yield from ((partition, record) for record in self._leave(partition, 1))

    def rest(self) -> Iterator[tuple[int, T]]:
        """Yield (partition, record) of all that wait; they wait no more."""
        for partition, queue in enumerate(self._queues):
            yield from ((partition, record) for record in self._leave(partition, len(queue)))

    def _leave(self, partition: int, count: int) -> Iterator[T]:
        for _ in range(count):
            record = self._queues[partition].popleft().record
            self._left += 1
            yield record
