"""What a generator says of itself each second: how much, how fast, how late, at what cost.

rows ─▶ Tally ─status()─▶ {"ok": …, "rate_per_s": …, "p99_s": …, "lag_p99_s": …, "cpu_share": …}
"""

from __future__ import annotations

import math
import time
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.clock import NS
from chaos.model import LoadStatus, Outcome, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workloads.samples import Row


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one generator process: totals, and the second under way."""

    began_ns: int
    outcomes: list[int] = field(default_factory=lambda: [0, 0, 0])
    lags_ns: array[int] = field(default_factory=lambda: array("q"))  # of the whole run
    _latencies_ns: list[int] = field(default_factory=list)  # of operations that ended
    _lags_ns: list[int] = field(default_factory=list)
    _second_ns: int = 0
    cpu_began_s: float = field(default_factory=time.process_time)
    _cpu_s: float = 0.0

    def __post_init__(self) -> None:
        self.begin(self.began_ns)

    def begin(self, now_ns: int) -> None:
        """Count cost and time from now on: what the set-up took is not the load's."""
        self.began_ns = self._second_ns = now_ns
        self.cpu_began_s = self._cpu_s = time.process_time()

    def count(self, row: Row) -> None:
        """Add one operation."""
        self.outcomes[row.outcome] += 1
        self._lags_ns.append(row.call_ns - row.intended_ns)
        if row.return_ns is not None:
            self._latencies_ns.append(row.return_ns - row.intended_ns)

    def status(self, now_ns: int, *, dropped: int, running: bool = True, why: str = "") -> dict[str, Any]:
        """Return a LoadStatus as JSON data, with `lag_p50_s` beside it, and begin the next second."""
        elapsed_s = max(1, now_ns - self._second_ns) / NS
        cpu_s = time.process_time()
        latencies, lags = sorted(self._latencies_ns), sorted(self._lags_ns)
        self.lags_ns.extend(lags)
        status = LoadStatus(
            at_ns=now_ns,
            running=running,
            rate_per_s=len(latencies) / elapsed_s,
            p99_s=quantile(latencies, 0.99) / NS if latencies else None,
            ok=self.outcomes[Outcome.OK],
            failed=self.outcomes[Outcome.FAILED],
            unknown=self.outcomes[Outcome.UNKNOWN],
            dropped=dropped,
            cpu_share=(cpu_s - self._cpu_s) / elapsed_s,
            lag_p99_s=quantile(lags, 0.99) / NS,
            offered_per_s=len(lags) / elapsed_s,
            why=why,
        )
        self._second_ns, self._cpu_s = now_ns, cpu_s
        self._latencies_ns.clear()
        self._lags_ns.clear()
        return {**to_json(status), "lag_p50_s": quantile(lags, 0.5) / NS}

    def totals(self, now_ns: int) -> dict[str, Any]:
        """Return what the end of the recording says of the generator itself, over its whole life."""
        lags = sorted((*self.lags_ns, *self._lags_ns))
        ok, failed, unknown = self.outcomes
        return {
            "ok": ok,
            "failed": failed,
            "unknown": unknown,
            "cpu_share": (time.process_time() - self.cpu_began_s) * NS / max(1, now_ns - self.began_ns),
            "lag_p50_s": quantile(lags, 0.5) / NS,
            "lag_p99_s": quantile(lags, 0.99) / NS,
            "lag_max_s": lags[-1] / NS if lags else 0.0,
        }


def quantile(ordered: Sequence[int], share: float) -> int:
    """Return the smallest value that at least `share` of an ordered sequence does not exceed; 0 of none."""
    if not ordered:
        return 0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def combined(statuses: Sequence[LoadStatus]) -> LoadStatus:
    """Return one status for several processes: counts and rates add up, of the rest the greatest.

    It is as old as the oldest of them: values that nobody said anew must not look new. ValueError of none.
    """
    return LoadStatus(
        at_ns=min(s.at_ns for s in statuses),
        running=all(s.running for s in statuses),
        rate_per_s=sum(s.rate_per_s for s in statuses),
        p99_s=max((s.p99_s for s in statuses if s.p99_s is not None), default=None),
        ok=sum(s.ok for s in statuses),
        failed=sum(s.failed for s in statuses),
        unknown=sum(s.unknown for s in statuses),
        dropped=sum(s.dropped for s in statuses),
        cpu_share=max((s.cpu_share for s in statuses), default=0.0),
        lag_p99_s=max((s.lag_p99_s for s in statuses), default=0.0),
        offered_per_s=sum(s.offered_per_s for s in statuses),
        why="; ".join(dict.fromkeys(s.why for s in statuses if s.why)),
    )
