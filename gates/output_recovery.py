"""The shape of a recovery: how soon it shows, how deep and long it is, how much work is late, when all is made up for.

    records seen      expected: the steady rate, on and on ──▶ /
                                                             / /▔▔ caught up: no longer behind by more than in steady
                                                           / /
                                                         /   │  ← late: the greatest distance, in seconds of work
                                                       /─────╯
                                        INJECT  detect ╰ dip ╯  end of the fault: `limit` counts from here

What a job has not put out while it was down it owes, and puts out later in a hurry. So its rate says little, and the
sum says all: a result that is lost is never caught up with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS, ns
from chaos.model import Span, Status, Verdict
from chaos.units import counted
from gates.wording import inconclusive, listed, no_window, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.recording import Recording
    from chaos.windows import FaultSpan, RecoverySpan, Window
    from gates.accounts import Ints
    from gates.traffic import Array

GRID_NS = ns(0.05)
ROOM = 1.1  # above the most that the output was behind in steady is still usual
DIP = 0.5  # of the steady rate: below it a bucket belongs to the dip
RECORDS_MIN = 50  # of output in the steady window: of fewer there is no rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecovery:
    """Within `limit` after every fault `output` has made up for what was late; never more than `late` of work is owed.

    `late` in seconds of the steady output; left out, it is told and not judged. A `bucket` is how the dip is counted:
    longer than a checkpoint, by which committed output comes in jumps.
    """

    limit_s: float
    late_s: float | None = None
    output: str = "out"
    bucket_s: float = 2.0

    def __post_init__(self) -> None:
        if self.limit_s <= 0:
            raise ValueError("limit: above 0; write e.g. 10s")
        if self.bucket_s < 0.1:
            raise ValueError("bucket: too short for a rate; write 100ms or more")

    @property
    def needs(self) -> Mapping[Span, float]:
        """Span → seconds that each such window must last."""
        return {Span.STEADY: 2 * self.bucket_s, Span.RECOVERY: self.bucket_s}

    def judge(self, recording: Recording) -> Verdict:
        """Judge every fault that ended while there was traffic; the worst counts."""
        windows = recording.windows
        if not windows.recoveries or windows.steady is None:
            return no_window(Span.RECOVERY)
        from chaos.streams import NEVER_NS  # noqa: PLC0415  # pyarrow costs, and plan never judges
        from gates.accounts import Log  # noqa: PLC0415  # as above

        topic = recording.topic(self.output)
        if topic is None:
            return inconclusive(f"topic {self.output} was not read back after the run", n=0)
        times = Log.of(topic, numbered=False).column("seen_ns")
        seen = np.sort(times[times != NEVER_NS])
        usual = _Curve.of(seen, windows.steady, None)
        if usual.records < RECORDS_MIN:
            return inconclusive(
                f"{usual.records} records of {self.output} were seen in steady, {RECORDS_MIN} are needed", n=0
            )
        faults = {(fault.step, fault.occurrence): fault for fault in windows.faults}
        found = [self._one(seen, usual, faults[span.step, span.occurrence], span) for span in windows.recoveries]
        unseen = len(times) - len(seen)
        verdict = self._worst(found, unseen)
        if windows.unfollowed and verdict.status is Status.PASS:
            names = [f"{fault.step}#{fault.occurrence}" for fault in windows.unfollowed]
            return inconclusive(f"there was no traffic after {listed(names)}", **verdict.numbers)
        return verdict

    def _one(self, seen: Ints, usual: _Curve, fault: FaultSpan, span: RecoverySpan) -> dict[str, Any]:
        curve = _Curve.of(seen, (fault.asked_ns, span.end_ns), usual.rate_per_s)
        limit = ROOM * usual.swing + 1
        behind = np.flatnonzero(curve.behind > limit)
        last_ns = int(curve.times_ns[behind[-1]]) if behind.size else span.start_ns
        caught_up = not behind.size or behind[-1] < len(curve.behind) - 1
        took_s = max(0.0, (last_ns - span.start_ns) / NS)
        late_s = max(0.0, float(curve.behind.max())) / usual.rate_per_s
        shares = curve.rates(self.bucket_s) / usual.rate_per_s
        return {
            "step": span.step,
            "occurrence": span.occurrence,
            "caught_up_s": took_s if caught_up else None,
            "late_s": late_s,
            "detect_s": (int(curve.times_ns[behind[0]]) - fault.asked_ns) / NS if behind.size else None,
            "dip_share": max(0.0, 1 - float(shares.min())) if shares.size else None,
            "dip_s": float(np.count_nonzero(shares < DIP)) * self.bucket_s,
            "status": self._status(caught_up, took_s, late_s, (span.end_ns - span.start_ns) / NS).name,
        }

    def _status(self, caught_up: bool, took_s: float, late_s: float, watched_s: float) -> Status:
        if self.late_s is not None and late_s > self.late_s:
            return Status.FAIL
        if caught_up:
            return Status.PASS if took_s <= self.limit_s else Status.FAIL
        return Status.FAIL if watched_s > self.limit_s else Status.INCONCLUSIVE

    def _worst(self, found: list[dict[str, Any]], unseen: int) -> Verdict:
        status = max(Status[one["status"]] for one in found)
        worst = [f"{one['step']}#{one['occurrence']}" for one in found if one["status"] == status.name]
        longest = max((one["caught_up_s"] for one in found if one["caught_up_s"] is not None), default=None)
        late_s = max(one["late_s"] for one in found)
        numbers = {
            "value_s": longest,
            "limit_s": self.limit_s,
            "late_s": late_s,
            "n": len(found),
            "unseen": unseen,
            "occurrences": found,
        }
        if unseen and status is Status.FAIL:
            why = f"{unseen:,} records of {self.output} were not seen live: its reader may have stopped"
            return inconclusive(why, **numbers)
        owed = f"{seconds(late_s)} of work late at most"
        said = {
            Status.PASS: f"caught up within {seconds(longest)} after {counted(len(found), 'fault')}, {owed}",
            Status.FAIL: f"not made up for after {listed(worst)}: {owed}",
            Status.INCONCLUSIVE: f"the traffic after {listed(worst)} is too short to tell, {owed}",
        }
        limits = f"limit {seconds(self.limit_s)}" + (f", {seconds(self.late_s)} late" if self.late_s else "")
        return Verdict(status=status, summary=f"{said[status]}; {limits}", numbers=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """How many records the output is behind its own rate, at moments of a window."""

    times_ns: Array
    behind: Array
    rate_per_s: float
    records: int
    seen: Ints

    @classmethod
    def of(cls, seen: Ints, window: Window, rate_per_s: float | None) -> _Curve:
        """Count in a window; without a rate, at the window's own, so that it ends where it began."""
        start, end = window
        inside = seen[(seen >= start) & (seen < end)]
        rate = len(inside) / max(1, end - start) * NS if rate_per_s is None else rate_per_s
        times = np.arange(start, end, GRID_NS, dtype=np.int64)
        behind = rate * (times - start) / NS - np.searchsorted(inside, times)
        return cls(times_ns=times, behind=behind, rate_per_s=rate, records=len(inside), seen=inside)

    @property
    def swing(self) -> float:
        """How far apart the most and the least behind are."""
        return float(np.ptp(self.behind)) if self.behind.size else 0.0

    def rates(self, bucket_s: float) -> Array:
        """Return records a second in each whole bucket."""
        edges = np.arange(self.times_ns[0], self.times_ns[-1], ns(bucket_s), dtype=np.int64)
        rates: Array = np.diff(np.searchsorted(self.seen, edges)) / bucket_s
        return rates
