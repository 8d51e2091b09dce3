"""One stream of measuring packets from a node to another, and what is learnt from those that arrive.

    seq 0 1 2 3 …  ──▶  path under test  ──▶  which arrived, when, how often, in which order, intact?

Pure: the meter sends what `packet` returns at the times that `due_ns` says, and hands what arrives to `arrived`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NS = 1_000_000_000
STAMP = struct.Struct("!4sIIQ")  # magic, flow, sequence number, CLOCK_MONOTONIC ns of the send
MAGIC = b"cgat"
FILL = bytes((7 * i + 3) & 0xFF for i in range(65536))
SHARED_FROM = 1 << 31  # numbers of flows between machines; a meter counts its own from 0
DELAYS_MAX = 4000  # sorted delays sent to the controller; more are thinned evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to send: `packets` at `per_s`; `train` > 1: so many back to back at each time, to see a rate limit.

    `unchecked`: no UDP checksum, so that a corrupted payload arrives and can be told from a lost one.

    Between two machines there are two meters, each with its half of the flow: `elsewhere` says which end is the other
    one's, `number` is what both know it by, `to` the address and port where the other one listens.
    """

    source: str
    sink: str
    packets: int
    per_s: float
    size: int = 100
    unchecked: bool = False
    train: int = 1
    elsewhere: str = ""  # "" | source | sink
    number: int = -1
    to: Sequence[Any] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Asked:
        """Read it from JSON; TypeError or ValueError if it makes no sense."""
        asked = cls(**data)
        if asked.packets < 1 or asked.per_s <= 0 or asked.train < 1 or not STAMP.size <= asked.size <= len(FILL):
            raise ValueError(f"{data}: packets, per_s and train must be positive, size from {STAMP.size} bytes")
        if asked.elsewhere and (asked.elsewhere not in ("source", "sink") or asked.number < SHARED_FROM):
            raise ValueError(f"{data}: half of a flow is elsewhere at its source or sink, number from {SHARED_FROM}")
        return asked

    @property
    def span_ns(self) -> int:
        """How long sending takes."""
        return round(-(-self.packets // self.train) * NS / self.per_s)


@dataclass(slots=True)
class Flow:
    """The stream under way. `late` counts packets that arrived after one with a higher number."""

    number: int
    asked: Asked
    start_ns: int
    sent: int = 0
    refused: int = 0  # by our own kernel: sent from a link that is down, say
    arrivals: int = 0
    corrupt: int = 0
    late: int = 0
    highest: int = -1
    first_ns: int | None = None
    last_ns: int | None = None
    delays: dict[int, int] = field(default_factory=dict)  # of each number's first copy
    received_ns: dict[int, int] = field(default_factory=dict)

    @property
    def comes(self) -> bool:
        """Whether it is sent by another machine's meter."""
        return self.asked.elsewhere == "source"

    @property
    def done(self) -> bool:
        """Everything was sent that is to be sent here."""
        return self.comes or self.sent >= self.asked.packets

    @property
    def whole(self) -> bool:
        """Whether everything that was sent has arrived here."""
        return self.asked.elsewhere != "sink" and len(self.delays) == (self.asked.packets if self.comes else self.sent)

    def due_ns(self) -> int:
        """Return when the next packet is to be sent."""
        return self.start_ns + round((self.sent // self.asked.train) * NS / self.asked.per_s)

    def packet(self, now_ns: int) -> bytes:
        """Return the next packet, stamped."""
        head = STAMP.pack(MAGIC, self.number, self.sent, now_ns)
        self.sent += 1
        return head + FILL[: self.asked.size - STAMP.size]

    def arrived(self, sequence: int, stamp_ns: int, now_ns: int, payload: bytes) -> None:
        """Note an arrival; a damaged one counts as corrupt, and its times count for nothing."""
        numbers = range(self.asked.packets if self.comes else self.sent)
        if payload[STAMP.size :] != FILL[: self.asked.size - STAMP.size] or sequence not in numbers:
            self.corrupt += 1
            return
        self.arrivals += 1
        if sequence in self.delays:
            return
        self.late += sequence < self.highest
        self.highest = max(self.highest, sequence)
        self.delays[sequence] = now_ns - stamp_ns
        self.received_ns[sequence] = now_ns
        self.first_ns = self.first_ns or now_ns
        self.last_ns = now_ns

    def result(self) -> dict[str, Any]:
        """Return the raw counts and the sorted delays (ns) as JSON data."""
        asked = self.asked
        return {
            "source": asked.source,
            "sink": asked.sink,
            "elsewhere": asked.elsewhere,
            "number": self.number,
            "size": asked.size,
            "sent": self.sent,
            "refused": self.refused,
            "received": len(self.delays),
            "copies": self.arrivals - len(self.delays),
            "corrupt": self.corrupt,
            "late": self.late,
            "delays_ns": thin(sorted(self.delays.values()), DELAYS_MAX),
            "train_bit_s": self.train_rates(),
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
        }

    def train_rates(self) -> list[float]:
        """Return the bit/s (IPv4 included) seen between first and last packet of each train, sorted."""
        if self.asked.train < 2:
            return []
        trains: dict[int, list[int]] = {}
        for sequence, at_ns in self.received_ns.items():
            trains.setdefault(sequence // self.asked.train, []).append(at_ns)
        bits = (self.asked.size + 28) * 8
        spans = [(len(times) - 1, max(times) - min(times)) for times in trains.values() if len(times) > 1]
        return sorted(gaps * bits * NS / max(span_ns, 1) for gaps, span_ns in spans)


def thin(values: list[int], most: int) -> list[int]:
    """Return at most `most` of the sorted values, evenly spaced, both ends kept."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
