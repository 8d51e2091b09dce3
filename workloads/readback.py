"""Final reads: after the traffic, every write-once key is read, linearizably, by several connections.

    keys ─▶ chunks of 64 ─▶ readers ─Txn(range, range, …)─▶ any member that answers ─▶ samples/final-<generator>.arrow

A key that could not be read leaves the observation incomplete, and an incomplete observation proves nothing. Reads
are repeated on other members until they succeed or time is up: a read has no effect, so trying again is safe here.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.model import Outcome
from workloads import etcd_messages as etcd
from workloads.samples import Row
from workloads.unary import CallError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from workloads.sabotage import Transport

_CHUNK = 64  # ranges in a transaction; etcd's --max-txn-ops defaults to 128
READERS = 4
_PAUSE_S = 0.1


@dataclass(slots=True, kw_only=True)
class ReadBack:
    """The keys still to be read, and how."""

    keys: Sequence[str]
    members: Sequence[str]
    dial: Callable[[str], Transport]
    clients: Iterator[int]
    record: Callable[[Row], None]
    short: Callable[[str], str]  # takes a value's padding off
    pause: Callable[[float], None]
    deadline_ns: int
    _chunks: deque[Sequence[str]] = field(default_factory=deque)
    _read: int = 0

    def __post_init__(self) -> None:
        self._chunks.extend(self.keys[n : n + _CHUNK] for n in range(0, len(self.keys), _CHUNK))

    @property
    def complete(self) -> bool:
        """Say whether every key was read."""
        return self._read == len(self.keys)

    def run(self, number: int) -> None:
        """Be reader `number`: read chunks until none is left or time is up."""
        client, at = next(self.clients), number
        transport: Transport | None = None
        while self._chunks and time.monotonic_ns() < self.deadline_ns:
            member = self.members[at % len(self.members)]
            transport = transport or self.dial(member)
            chunk = self._chunks.popleft()
            try:
                self._read_chunk(chunk, transport, member, client)
            except (CallError, etcd.MessageError):
                self._chunks.append(chunk)
                transport.close()
                transport, at = None, at + 1
                self.pause(_PAUSE_S)
        if transport is not None:
            transport.close()

    def _read_chunk(self, chunk: Sequence[str], transport: Transport, member: str, client: int) -> None:
        call_ns = time.monotonic_ns()
        txn = etcd.read_txn(transport.call(etcd.TXN, etcd.ranges_request(chunk)))
        return_ns = time.monotonic_ns()
        if len(txn.ranges) != len(chunk):
            raise etcd.MessageError(f"{len(txn.ranges)} answers to {len(chunk)} reads")
        for key, found in zip(chunk, txn.ranges, strict=True):
            value = None if found.value is None else self.short(found.value)
            where = (client, member, "get", "linearizable", key, value)
            self.record(Row(call_ns, call_ns, return_ns, *where, revision=txn.revision, outcome=Outcome.OK))
        self._read += len(chunk)
