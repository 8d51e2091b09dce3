"""The shape of a recovery: how soon it shows, how deep and long it is, how much work is late, when all is made up for.

    records       sent, by their intended moments ──▶ /
                                                    / /▔▔ caught up: no further behind than usual, for a bucket
                                                  / /
                                                /   │  ← late: the greatest distance, in seconds of traffic
                           seen in the output /─────╯
                               INJECT  detect ╰ dip ╯  end of the fault: `limit` counts from here

What a job has not put out while it was down it owes, and puts out later in a hurry. So its rate says little, and the
distance says all: a record that is lost is owed for ever. Records are joined by id, and the first time counts.
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
    from gates.visible import Ways

GRID_NS = ns(0.05)
ROOM = 1.1  # a tenth above the most that the output was behind in steady is still usual
DIP = 0.5  # of the steady rate: below it a bucket belongs to the dip
RECORDS_MIN = 50  # sent in the second half of steady: of fewer there is no rate


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputRecovery:
    """Within `limit` after every fault `output` has made up for what was late; never more than `late` of work is owed.

    Usual is the most that the output was behind in the second half of steady, and a tenth or `within` of the traffic,
    whichever is more: a few seconds don't show the worst of the usual. It has made up for it when it has been so for a
    `bucket`. What is late again after that counts, but for hiccups: stretches that are over before the traffic is, and
    not longer than a bucket, all of them together. So few records lost that they are less than `within` of the traffic
    are for the gate `ledger` to find. Owed are the records that are in the output, or that producers were told are
    stored. `late` in seconds of the steady traffic; left out, it is told and not judged. A `bucket` is also how the dip
    is counted: longer than a checkpoint, by which committed output comes in jumps.
    """

    limit_s: float
    late_s: float | None = None
    output: str = "out"
    bucket_s: float = 2.0
    within_s: float = 0.25

    def __post_init__(self) -> None:
        if self.limit_s <= 0:
            raise ValueError("limit: above 0; write e.g. 10s")
        if self.within_s < 0:
            raise ValueError("within: 0 or more; write e.g. 250ms")
        if self.bucket_s < 0.1:
            raise ValueError("bucket: too short for a rate; write 100ms or more")

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that must be read back."""
        return (self.output,)

    @property
    def needs(self) -> Mapping[Span, float]:
        """Span → seconds that each such window must last."""
        return {Span.STEADY: 2 * self.bucket_s, Span.RECOVERY: self.bucket_s}

    def judge(self, recording: Recording) -> Verdict:
        """Judge every fault that ended while there was traffic; the worst counts."""
        windows = recording.windows
        if not windows.recoveries or windows.steady is None:
            return no_window(Span.RECOVERY)
        from gates.accounts import Sent, SparseError  # noqa: PLC0415  # pyarrow costs, and plan never judges
        from gates.visible import Ways  # noqa: PLC0415  # as above

        topic = recording.topic(self.output)
        if topic is None:
            return inconclusive(f"topic {self.output} was not read back after the run", n=0)
        sent = Sent.of(recording)
        try:
            ways = Ways.of(sent, topic)
        except SparseError as error:
            return inconclusive(f"{self.output} can't be compared: {error}", n=0)
        owed = (sent.acknowledged | ways.there) & ~sent.refused
        debt = _Debt.of(sent.column("intended_ns"), ways, owed=owed)
        usual = debt.within(self._settled(windows.steady))
        if usual.offered < RECORDS_MIN:
            why = f"{usual.offered} records were sent in the second half of steady, {RECORDS_MIN} are needed"
            return inconclusive(why, n=0)
        faults = {(fault.step, fault.occurrence): fault for fault in windows.faults}
        found = [self._one(debt, usual, faults[span.step, span.occurrence], span) for span in windows.recoveries]
        verdict = self._worst(found, debt.unseen)
        if windows.unfollowed and verdict.status is Status.PASS:
            names = [f"{fault.step}#{fault.occurrence}" for fault in windows.unfollowed]
            return inconclusive(f"there was no traffic after {listed(names)}", **verdict.numbers)
        return verdict

    def _settled(self, steady: Window) -> Window:
        """Return the part of steady that says what is usual: a cold job catches up in the first half."""
        start, end = steady
        return min((start + end) // 2, max(start, end - ns(2 * self.bucket_s))), end

    def _one(self, debt: _Debt, usual: _Curve, fault: FaultSpan, span: RecoverySpan) -> dict[str, Any]:
        curve = debt.within((fault.asked_ns, span.end_ns))
        threshold = max(ROOM * usual.most + 1, usual.most + self.within_s * usual.rate_per_s)
        behind = curve.times_ns[curve.behind > threshold]
        last_ns = self._last(behind, span.start_ns, span.end_ns)
        caught_up = span.end_ns - last_ns > ns(self.bucket_s)
        took_s = max(0.0, (last_ns - span.start_ns) / NS)
        late_s = curve.most / usual.rate_per_s
        shares = curve.rates(self.bucket_s) / usual.rate_per_s
        return {
            "step": span.step,
            "occurrence": span.occurrence,
            "caught_up_s": took_s if caught_up else None,
            "late_s": late_s,
            "detect_s": (int(behind[0]) - fault.asked_ns) / NS if behind.size else None,
            "dip_share": max(0.0, 1 - float(shares.min())) if shares.size else None,
            "dip_s": float(np.count_nonzero(shares < DIP)) * self.bucket_s,
            "status": self._status(caught_up, took_s, late_s).name,
        }

    def _last(self, behind_ns: Ints, start_ns: int, end_ns: int) -> int:
        """Return the last moment of being behind in a recovery from `start_ns` to `end_ns`, but for hiccups.

        Moments less than a bucket apart are one stretch.
        """
        bucket_ns = ns(self.bucket_s)
        stretches = np.split(behind_ns, np.flatnonzero(np.diff(behind_ns) > bucket_ns) + 1) if behind_ns.size else []
        later = [one for one in stretches if one[0] > start_ns + bucket_ns and one[-1] <= end_ns - bucket_ns]
        if sum(one[-1] - one[0] + GRID_NS for one in later) > bucket_ns:
            later = []  # too much of it to be hiccups
        hiccups = {int(one[0]) for one in later}
        return int(max((one[-1] for one in stretches if int(one[0]) not in hiccups), default=start_ns))

    def _status(self, caught_up: bool, took_s: float, late_s: float) -> Status:
        if took_s > self.limit_s or (self.late_s is not None and late_s > self.late_s):
            return Status.FAIL
        return Status.PASS if caught_up else Status.INCONCLUSIVE

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
class _Debt:
    """When each record that is owed was meant to be sent, and when those that were seen were seen first; sorted.

    `unseen`: in the topic, and not seen while the run went on.
    """

    intended_ns: Ints
    seen_ns: Ints
    unseen: int

    @classmethod
    def of(cls, intended_ns: Ints, ways: Ways, *, owed: Array) -> _Debt:
        """Sort them."""
        from chaos.streams import NEVER_NS  # noqa: PLC0415  # pyarrow costs, and plan never judges

        seen = ways.seen_ns != NEVER_NS
        return cls(
            intended_ns=np.sort(intended_ns[owed]),
            seen_ns=np.sort(ways.seen_ns[owed & seen]),
            unseen=int(np.count_nonzero(ways.there & ~seen)),
        )

    def within(self, window: Window) -> _Curve:
        """Return how many records are owed at moments of a window."""
        start, end = window
        times = np.arange(start, end, GRID_NS, dtype=np.int64)
        behind = np.searchsorted(self.intended_ns, times) - np.searchsorted(self.seen_ns, times)
        first, last = np.searchsorted(self.intended_ns, [start, end])
        return _Curve(times_ns=times, behind=behind, offered=int(last - first), seen_ns=self.seen_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Curve:
    """How many records were owed, at moments of a window in which so many were sent."""

    times_ns: Array
    behind: Array
    offered: int
    seen_ns: Ints

    @property
    def most(self) -> float:
        """How far behind it was at most."""
        return float(self.behind.max()) if self.behind.size else 0.0

    @property
    def rate_per_s(self) -> float:
        """Records sent a second."""
        return self.offered / (len(self.times_ns) * GRID_NS / NS)

    def rates(self, bucket_s: float) -> Array:
        """Return records seen a second, in each whole bucket."""
        edges = np.arange(self.times_ns[0], self.times_ns[-1], ns(bucket_s), dtype=np.int64)
        rates: Array = np.diff(np.searchsorted(self.seen_ns, edges)) / bucket_s
        return rates
