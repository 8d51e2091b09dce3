"""When operations are due: an open-loop schedule, decided before anything is sent.

    rate │      ┌──────────┐ hold          arrival n is due when the area under the rate has reached n
         │    / │          │
         │  /ramp          └────           late users draw what is overdue; what waited too long is dropped
         └─────────────────────▶ t

Latency that counts from these times has no coordinated omission (Tene, "How NOT to measure latency"; wrk2): a server
that stalls does not slow the arrivals down, it makes them late. As in k6's arrival-rate executors, what nobody was
free to send is counted and never made up for.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.clock import NS, ns
from chaos.shapes import pieces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from chaos.model import LoadStage
    from chaos.shapes import Piece


def due_times(parts: Sequence[Piece], *, first: float, gaps: Iterator[float]) -> Iterator[float]:
    """Yield the seconds at which arrivals are due: where the area under the rate is first, first + gap, ….

    Gaps of 1 give even spacing; gaps from an exponential distribution with mean 1 give a Poisson process.
    """
    reached, before = first, 0.0
    for part in parts:
        while reached < before + part.area:
            yield part.due_s(reached - before)
            reached += next(gaps)
        before += part.area


def gaps(arrivals: str, rng: random.Random) -> Iterator[float]:
    """Yield the areas between arrivals: "even" or "poisson"."""
    while True:
        yield rng.expovariate(1.0) if arrivals == "poisson" else 1.0


@dataclass(slots=True, kw_only=True)
class Schedule:
    """The arrivals of one generator process; all its users draw from it.

    An arrival that waited longer than `patience_ns` for a free user is dropped: latencies stay bounded by patience
    plus timeout, and what was not sent is known.
    """

    due_s: Iterator[float]
    patience_ns: int
    epoch_ns: int = 0
    end_ns: int | None = None  # no arrivals from here on
    dropped: int = 0
    drawn: int = 0
    _waiting: deque[int] = field(default_factory=deque)

    def draw(self, now_ns: int) -> int | None:
        """Return the next arrival's due time, overdue or to come; None when the load is over."""
        self.settle(now_ns)
        due = self._waiting.popleft() if self._waiting else self._next()
        self.drawn += due is not None
        return due

    def settle(self, now_ns: int) -> None:
        """Let what has come due wait for a user, and drop what waited too long."""
        while (not self._waiting or self._waiting[-1] <= now_ns) and (due := self._next()) is not None:
            self._waiting.append(due)
        while self._waiting and self._waiting[0] < now_ns - self.patience_ns:
            self._waiting.popleft()
            self.dropped += 1

    def _next(self) -> int | None:
        due_s = next(self.due_s, None)
        if due_s is None:
            return None
        due = self.epoch_ns + round(due_s * NS)
        return due if self.end_ns is None or due < self.end_ns else None

    def close(self, now_ns: int) -> None:
        """End the load: what is overdue and was not drawn is dropped, what is to come never arrives."""
        self.settle(now_ns)
        self.dropped += sum(due <= now_ns for due in self._waiting)
        self._waiting.clear()
        self.due_s = iter(())


def schedule(
    rate_per_s: float,
    stages: Sequence[LoadStage],
    *,
    patience_s: float,
    arrivals: str = "even",
    seed: int = 1,
    index: int = 0,
    processes: int = 1,
) -> Schedule:
    """Return the share of process `index` of `processes`: together they make the whole rate, evenly interleaved."""
    spacing = gaps(arrivals, random.Random(f"{seed}/arrivals/{index}"))
    first = (index + 1) / processes if arrivals == "even" else next(spacing)
    times = due_times(pieces(rate_per_s / processes, stages), first=first, gaps=spacing)
    return Schedule(due_s=times, patience_ns=ns(patience_s))
