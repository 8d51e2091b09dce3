"""What each path is like without faults: the last packets, learnt again and again while nothing is in force."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from chaos.fidelity import Flow, together

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

KEPT = 200  # packets of each path


class Baseline:
    """Bare flows by path. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rounds: dict[tuple[str, str], list[Flow]] = {}

    def add(self, flows: Iterable[Flow]) -> None:
        """Put new rounds to the old, and let the oldest go."""
        with self._lock:
            for flow in flows:
                rounds = [*self._rounds.get((flow.source, flow.sink), []), flow]
                while sum(one.sent for one in rounds[1:]) >= KEPT:
                    rounds = rounds[1:]
                self._rounds[flow.source, flow.sink] = rounds

    def forget(self, nodes: Collection[str]) -> None:
        """Forget the paths of nodes that have become others."""
        with self._lock:
            for pair in [pair for pair in self._rounds if set(pair) & set(nodes)]:
                del self._rounds[pair]

    def of(self, source: str, sink: str) -> Flow:
        """Return all that is kept of a path; an empty flow if it was never measured."""
        with self._lock:
            rounds = self._rounds.get((source, sink))
        if not rounds:
            return Flow(source=source, sink=sink, sent=0, received=0)
        joined = together(rounds)
        return replace(joined, delays_ms=np.sort(joined.delays_ms))
