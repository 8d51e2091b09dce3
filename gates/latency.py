"""The tail that users feel: a percentile of latency, counted from the moment an operation was meant to be sent.

An operation that nobody answered, that was refused, or that found no free user took for ever: leaving it out would make
an outage look fast ("coordinated omission", Gil Tene, wrk2's README). The limit must lie outside the percentile's
interval, or the gate can't tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.intervals import quantile_ranks, samples_for_quantile, samples_to_tell
from chaos.model import Outcome, Span, Status, Verdict
from gates.traffic import traffic
from gates.wording import finite, inconclusive, no_window, seconds

if TYPE_CHECKING:
    from chaos.recording import Recording
    from gates.traffic import Array, Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """The `percentile` of latency in a window is at most `limit`.

    `samples_min`: fewer offered operations can't tell; by default as many as the percentile's own interval needs.
    """

    limit_s: float
    percentile: float = 99.0
    during: Span = Span.FAULT
    samples_min: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:
            raise ValueError(f"percentile: {self.percentile:g} is not between 0 and 100; write e.g. 99")
        if self.limit_s <= 0:
            raise ValueError("limit: a latency is above 0; write e.g. 400ms")

    def judge(self, recording: Recording) -> Verdict:
        """Judge the window's offered operations."""
        seen = traffic(recording, self.during)
        if not seen.spans:
            return no_window(self.during)
        needed = max(self.samples_min or 1, samples_for_quantile(self.percentile / 100))
        if seen.n < needed:
            why = f"{seen.n} operations during {self.during}, p{self.percentile:g} needs at least {needed}"
            return inconclusive(why, n=seen.n, needed=needed)
        return self._compared(seen)

    def _compared(self, seen: Traffic) -> Verdict:
        told = {
            "unanswered": seen.count(Outcome.UNKNOWN),
            "refused": seen.count(Outcome.FAILED),
            "dropped": seen.dropped,
        }
        name = f"p{self.percentile:g} during {self.during}"
        return compared(seen.latencies_s, name, limit_s=self.limit_s, percentile=self.percentile, **told)


def compared(ordered: Array, name: str, *, limit_s: float, percentile: float, **numbers: Any) -> Verdict:
    """Hold a percentile of sorted latencies against its limit, which must lie outside the percentile's interval."""
    n = len(ordered)
    low, value, high = _interval(ordered, percentile / 100)
    status = Status.PASS if high <= limit_s else Status.FAIL if low > limit_s else Status.INCONCLUSIVE
    told = {
        "value_s": finite(value),
        "limit_s": limit_s,
        "low_s": finite(low),
        "high_s": finite(high),
        "n": n,
        **numbers,
    }
    summary = f"{name}: {seconds(value)}, limit {seconds(limit_s)} (n = {n:,})"
    if status is Status.INCONCLUSIVE:
        over = float(np.count_nonzero(ordered > limit_s)) / n
        needed = samples_to_tell(over, 1 - percentile / 100)
        summary = (
            f"{name} lies within {seconds(low)} to {seconds(high)}, around the limit {seconds(limit_s)}; "
            f"{f'about {needed:,}' if needed else 'more'} operations would tell, {n:,} were offered"
        )
        told["needed"] = needed
    return Verdict(status=status, summary=summary, numbers=told)


def _interval(ordered: Array, quantile: float) -> tuple[float, float, float]:
    """Low end, value and high end of a quantile of sorted samples."""
    n = len(ordered)
    low, high = quantile_ranks(n, quantile)
    value = float(ordered[min(n - 1, int(np.ceil(n * quantile)) - 1)])
    return (0.0 if low is None else float(ordered[low])), value, (np.inf if high is None else float(ordered[high]))
