"""A test aid: clients that lie, so that gates can be seen to say no.

    KvUser ─call─▶ sabotage ─call─▶ Unary ─▶ member

A gate that never failed proves nothing. `sabotage: stale-reads` in an experiment's load settings makes a sound store
look broken in one known way; never use it on a release.

    ack-before-write   a put is reported ok before it is sent; it is sent ahead of the next call, and one in
                       twenty never                                        → acknowledged writes lost, not linearizable
    stale-reads        gets that are recorded as linearizable ask for serializable ones      → not linearizable
    retry              a call that failed is made once more                                  → writes that come twice
    throttle           half of the arrivals are left out                                     → load below its floor
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from workloads.etcd_messages import PUT, RANGE, SERIALIZABLE, put_response

if TYPE_CHECKING:
    import random

ACK_BEFORE_WRITE, STALE_READS, RETRY, THROTTLE = "ack-before-write", "stale-reads", "retry", "throttle"
SABOTAGES = (ACK_BEFORE_WRITE, STALE_READS, RETRY, THROTTLE)

_NEVER_SENT_SHARE = 0.05


class Transport(Protocol):
    """What makes one call; `workloads.unary.Unary` is the honest one."""

    def call(self, method: str, message: bytes) -> bytes:
        """Return the answer; CallError otherwise."""
        ...

    def close(self) -> None:
        """Close its connection."""
        ...


class AckBeforeWrite:
    """Puts are acknowledged at once, and written later or never."""

    def __init__(self, inner: Transport, rng: random.Random) -> None:
        self._inner = inner
        self._rng = rng
        self._owed: list[bytes] = []

    def call(self, method: str, message: bytes) -> bytes:
        """Pay what is owed, then answer a put without sending it."""
        for put in self._owed:
            self._inner.call(PUT, put)
        self._owed.clear()
        if method != PUT:
            return self._inner.call(method, message)
        if self._rng.random() >= _NEVER_SENT_SHARE:
            self._owed.append(message)
        return put_response(0)

    def close(self) -> None:
        """Close; what is owed is forgotten."""
        self._owed.clear()
        self._inner.close()


class StaleReads:
    """Every get asks for a serializable read, whatever is recorded."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def call(self, method: str, message: bytes) -> bytes:
        """Add `serializable = true` to range requests: protobuf messages merge by concatenation."""
        return self._inner.call(method, message + SERIALIZABLE if method == RANGE else message)

    def close(self) -> None:
        """Close."""
        self._inner.close()


class Retry:
    """The hidden retry that the honest transport never makes."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def call(self, method: str, message: bytes) -> bytes:
        """Call, and once more after an error."""
        from workloads.unary import CallError  # noqa: PLC0415 — sockets: too early where settings are read

        try:
            return self._inner.call(method, message)
        except CallError:
            return self._inner.call(method, message)

    def close(self) -> None:
        """Close."""
        self._inner.close()


def sabotaged(transport: Transport, sabotage: str, rng: random.Random) -> Transport:
    """Return the transport, made to lie as `sabotage` says; empty: as it is."""
    if sabotage == ACK_BEFORE_WRITE:
        return AckBeforeWrite(transport, rng)
    if sabotage == STALE_READS:
        return StaleReads(transport)
    return Retry(transport) if sabotage == RETRY else transport


def offered_share(sabotage: str) -> float:
    """Return which share of the asked rate is really offered."""
    return 0.5 if sabotage == THROTTLE else 1.0
