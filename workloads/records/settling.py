"""When a job's output has come to rest: pure, told what can be seen and when.

    drained ─ markers sent ─┬─ every marker has come out ─┬─ no transaction open ─┬─ nothing grew for quiet_s ─▶ at rest
                            └───────────── or the deadline, and then what is missing is told ───────────────────▶ late

A marker of a partition comes out after every record before it: what a job commits is what its sources had read by then.
Windows follow it only when event time has moved on in all partitions, so a topic must also stand still for longer than
one checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from chaos.clock import ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads.records.proof import Ends


@dataclass(slots=True, kw_only=True)
class Rest:
    """What has been seen of the topics that a job writes, and since when nothing has changed there."""

    quiet_s: float
    markers_due: int  # on at least one of the topics; 0: none were sent
    _high: dict[str, dict[int, int]] = field(default_factory=dict)
    _since_ns: int = 0
    _why: str = "nobody has looked"

    def look(self, now_ns: int, ends: Mapping[str, Ends | None], markers: int) -> bool:
        """Take in one look at every topic; say whether they are at rest."""
        high = {topic: dict(found.high) if found else {} for topic, found in ends.items()}
        if high != self._high:
            self._high, self._since_ns = high, now_ns
        self._why = self._reason(now_ns, ends, markers)
        return not self._why

    @property
    def why(self) -> str:
        """Say what is missing; empty if nothing is."""
        return self._why

    def _reason(self, now_ns: int, ends: Mapping[str, Ends | None], markers: int) -> str:
        if silent := [topic for topic, found in ends.items() if found is None]:
            return f"nobody says where {', '.join(silent)} ends"
        if markers < self.markers_due:
            return f"{markers} of {self.markers_due} end markers have come out"
        if unsettled := [topic for topic, found in ends.items() if found is not None and not found.settled]:
            return f"a transaction is open on {', '.join(unsettled)}"
        if now_ns - self._since_ns < ns(self.quiet_s):
            return f"{', '.join(ends)} grew less than {self.quiet_s:g} s ago"
        return ""
