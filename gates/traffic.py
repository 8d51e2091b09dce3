"""What clients saw in a window: each operation belongs to the moment at which it was meant to be sent.

    intended ──── lag ──── call ─────────── return
       └───────────── latency ─────────────────┘        never answered, refused or dropped: infinite

Dropped arrivals (no user was free) have no sample of their own. The generator's counts, a second each, place them:
a second that touches a fault belongs to the fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS
from chaos.model import EventKind, Outcome, Span
from chaos.windows import union

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.recording import Recording
    from chaos.windows import Window

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, kw_only=True)  # no slots: the sorted latencies are kept
class Traffic:
    """The operations of some windows, as arrays of one length, and the arrivals that were dropped there."""

    spans: Sequence[Window]
    intended_ns: Array
    return_ns: Array
    outcome: Array
    dropped: int

    @property
    def n(self) -> int:
        """Offered operations: recorded and dropped."""
        return len(self.outcome) + self.dropped

    @property
    def seconds(self) -> float:
        """Length of all windows together."""
        return sum(end - start for start, end in self.spans) / NS

    def count(self, outcome: Outcome) -> int:
        """Return how many operations ended so."""
        return int(np.count_nonzero(self.outcome == outcome))

    @property
    def errors(self) -> int:
        """Offered operations that were not served: failed, unknown, dropped."""
        return self.n - self.count(Outcome.OK)

    @cached_property
    def latencies_s(self) -> Array:
        """Sorted latencies from the intended time; infinite for every offered operation that was not served."""
        served = self.outcome == Outcome.OK
        latency = np.full(self.n, np.inf)
        latency[: int(np.count_nonzero(served))] = (self.return_ns[served] - self.intended_ns[served]) / NS
        return np.sort(latency)


def traffic(recording: Recording, during: Span) -> Traffic:
    """Return what clients saw in the windows of `during`; no spans if the run has none."""
    spans = recording.windows.select(during)
    intended_ns, return_ns, outcome = recording.columns("intended_ns", "return_ns", "outcome")
    chosen = inside(intended_ns, spans)
    return Traffic(
        spans=spans,
        intended_ns=intended_ns[chosen],
        return_ns=return_ns[chosen],
        outcome=outcome[chosen],
        dropped=dropped(recording, during),
    )


def inside(times_ns: Array, spans: Sequence[Window]) -> Array:
    """Return which times lie in one of the sorted, disjoint spans."""
    edges = np.array([edge for span in spans for edge in span], dtype=np.int64)
    odd: Array = np.searchsorted(edges, times_ns, side="right") % 2 == 1
    return odd


def dropped(recording: Recording, during: Span, *, shared: bool = False) -> int:
    """Return how many arrivals found no free user in `during`; `shared`: in seconds that touch a fault, too."""
    spans = recording.windows.select(during)
    faults = recording.windows.select(Span.FAULT)
    total = 0
    for start, end, count in _drops(recording):
        if not count or not _touches(start, end, spans):
            continue
        if not shared and during in {Span.STEADY, Span.RECOVERY} and _touches(start, end, faults):
            continue
        total += count
    return total


def drop_times_ns(recording: Recording) -> Array:
    """Return when each dropped arrival was meant to go: spread over its second, or over the fault that it touches."""
    faults = recording.windows.select(Span.FAULT)
    times = [np.empty(0, dtype=np.int64)]
    for start, end, count in _drops(recording):
        if count:
            within = union(faults, within=(start, end)) or [(start, end)]
            times.append(np.linspace(*within[-1], count, endpoint=False).astype(np.int64))
    return np.concatenate(times)


def _drops(recording: Recording) -> Iterator[tuple[int, int, int]]:
    """Each stretch between two counts of the generator: its start, its end, arrivals dropped in it."""
    before_ns = before = 0
    for event in recording.events:
        if event.kind is not EventKind.LOAD:
            continue
        now_ns, now = int(event.data.get("at_ns", event.at_ns)), int(event.data.get("dropped", 0))
        yield before_ns, now_ns, max(0, now - before)
        before_ns, before = now_ns, now
    closed = sum(end.dropped for end in recording.ends.values() if end is not None)
    run = recording.windows.run
    if run is not None and closed > before:  # known only since the generator closed: dropped since the last count
        yield min(before_ns, run[1] - 1), run[1], closed - before


def _touches(start: int, end: int, spans: Sequence[Window]) -> bool:
    return any(start < span_end and span_start < end for span_start, span_end in spans)
