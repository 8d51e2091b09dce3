"""How long after the end of a fault clients have their service back, and keep it.

    steady rate ────╮                         ╭───────────
                    │ dip                     │  hold
                    ╰─────────────────────────╯
              INJECT│ detect                  │
              ──────┴───── fault ──────┬──────┴─ recovery: counted from the end of the fault

Normal: in a bucket of time, answers reach a share of the run's own steady rate and errors, dropped arrivals among
them, stay below a share. Back:
the first normal bucket from which on the traffic as a whole is normal for `hold`. A fault that stays in force longer
than the store's failover may be over for clients before it ends: recovery is then 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS, ns
from chaos.model import Outcome, Span, Status, Verdict
from chaos.units import counted
from gates.throughput import rate_per_s
from gates.traffic import drop_times_ns
from gates.wording import inconclusive, listed, no_window, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from chaos.recording import Recording
    from chaos.windows import FaultSpan, RecoverySpan
    from gates.traffic import Array

NORMAL_IN_STEADY_MIN = 0.9  # of the steady window's own buckets, or "normal" means nothing here


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Within `limit` after the end of every fault, traffic is normal again and stays so for `hold`.

    Normal: at least `throughput_share` of the steady rate succeeds and at most `error_share` does not, a `bucket` at
    a time. A recovery window too short to tell is inconclusive.
    """

    limit_s: float
    throughput_share: float = 0.8
    error_share: float = 0.05
    hold_s: float = 2.0
    bucket_s: float = 0.25

    def __post_init__(self) -> None:
        if not 0.05 <= self.bucket_s <= self.hold_s:
            raise ValueError("bucket: between 50ms and the hold; write e.g. 250ms")

    @property
    def needs(self) -> Mapping[Span, float]:
        """Span → seconds that each such window must last: normal is what the steady one was, back is a whole hold."""
        return {Span.STEADY: self.bucket_s, Span.RECOVERY: self.hold_s}

    def judge(self, recording: Recording) -> Verdict:
        """Judge every fault that ended while there was traffic; the worst counts."""
        windows = recording.windows
        if not windows.recoveries or windows.steady is None:
            return no_window(Span.RECOVERY)
        rate = rate_per_s(recording, [windows.steady])
        if rate == 0:
            return inconclusive("nothing succeeded in the steady window, so nothing says what normal is", n=0)
        buckets = _Buckets.of(recording, self.bucket_s)
        normal = self._normal(buckets, rate)
        usual = _share_of(normal[buckets.slice(*windows.steady)])
        if usual < NORMAL_IN_STEADY_MIN:
            why = f"only {percent(usual)} of the steady window was normal by these settings; take a greater bucket"
            return inconclusive(why, steady_normal_share=usual)
        faults = {(fault.step, fault.occurrence): fault for fault in windows.faults}
        found = [
            self._one(buckets, normal, rate, faults[span.step, span.occurrence], span) for span in windows.recoveries
        ]
        verdict = self._worst(found)
        if windows.unfollowed and verdict.status is not Status.FAIL:
            names = [f"{fault.step}#{fault.occurrence}" for fault in windows.unfollowed]
            return inconclusive(f"there was no traffic after {listed(names)}", **verdict.numbers)
        return verdict

    def _normal(self, buckets: _Buckets, rate: float) -> Array:
        return buckets.normal(rate * self.throughput_share, self.error_share)

    def _one(
        self, buckets: _Buckets, normal: Array, rate: float, fault: FaultSpan, span: RecoverySpan
    ) -> dict[str, Any]:
        after = buckets.between(span.start_ns, span.end_ns)
        back_s, status = self._back(after, rate)
        through = buckets.slice(fault.start_ns, span.end_ns)
        abnormal = np.flatnonzero(~normal[through])
        return {
            "step": span.step,
            "occurrence": span.occurrence,
            "status": status.name,
            "recovery_s": back_s,
            "detect_s": float(abnormal[0]) * self.bucket_s if abnormal.size else None,
            "dip_share": _dip(buckets.ok[through] / (rate * self.bucket_s)),
            "dip_s": float(abnormal.size) * self.bucket_s,
        }

    def _back(self, after: _Buckets, rate: float) -> tuple[float | None, Status]:
        """Return seconds until traffic was back (None: not seen), and what that says."""
        normal, hold = self._normal(after, rate), round(self.hold_s / self.bucket_s)
        for first in range(len(normal)):
            rest = after.cut(first, first + hold)
            if not normal[first] or not rest.as_one().normal(rate * self.throughput_share, self.error_share)[0]:
                continue
            back_s = first * self.bucket_s
            if back_s > self.limit_s:
                break
            return (back_s, Status.PASS) if len(rest) == hold else (None, Status.INCONCLUSIVE)
        else:
            back_s = None
        seen_s = len(normal) * self.bucket_s
        return back_s, Status.FAIL if seen_s > self.limit_s else Status.INCONCLUSIVE

    def _worst(self, found: Sequence[dict[str, Any]]) -> Verdict:
        status = max(Status[one["status"]] for one in found)
        worst = [f"{one['step']}#{one['occurrence']}" for one in found if one["status"] == status.name]
        longest = max((one["recovery_s"] for one in found if one["recovery_s"] is not None), default=None)
        numbers = {"value_s": longest, "limit_s": self.limit_s, "n": len(found), "occurrences": list(found)}
        limit, needed = seconds(self.limit_s), seconds(self.limit_s + self.hold_s)
        said = {
            Status.PASS: f"back within {seconds(longest)} after {counted(len(found), 'fault')}, limit {limit}",
            Status.FAIL: f"traffic was not back within {limit} after {listed(worst)}",
            Status.INCONCLUSIVE: f"the traffic after {listed(worst)} is too short to tell: {needed} are needed",
        }
        return Verdict(status=status, summary=said[status], numbers=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Buckets:
    """Answers and errors per bucket of time, from `start_ns` on."""

    start_ns: int
    length_ns: int
    ok: Array
    bad: Array
    times: tuple[Array, Array]  # when each answer came; when each operation that was not served was meant to go

    @classmethod
    def of(cls, recording: Recording, bucket_s: float) -> _Buckets:
        return_ns, intended_ns, outcome = recording.columns("return_ns", "intended_ns", "outcome")
        served = outcome == Outcome.OK
        run = recording.windows.run
        assert run is not None
        bad_ns = np.concatenate([intended_ns[~served], drop_times_ns(recording)])
        return cls._count((np.sort(return_ns[served]), np.sort(bad_ns)), *run, ns(bucket_s))

    @classmethod
    def _count(cls, times: tuple[Array, Array], start_ns: int, end_ns: int, length_ns: int) -> _Buckets:
        edges = start_ns + length_ns * np.arange((end_ns - start_ns) // length_ns + 1, dtype=np.int64)
        ok, bad = (np.diff(np.searchsorted(sorted_ns, edges)) for sorted_ns in times)
        return cls(start_ns=start_ns, length_ns=length_ns, ok=ok, bad=bad, times=times)

    def __len__(self) -> int:
        return len(self.ok)

    def normal(self, rate: float, error_share: float) -> Array:
        answers = self.ok >= rate * self.length_ns / NS
        quiet: Array = answers & (self.bad <= error_share * (self.ok + self.bad))
        return quiet

    def between(self, start_ns: int, end_ns: int) -> _Buckets:
        """Count again in buckets that begin at `start_ns`."""
        return self._count(self.times, start_ns, end_ns, self.length_ns)

    def slice(self, start_ns: int, end_ns: int) -> slice:
        """Return the buckets that a window touches, the whole ones at its start."""
        first = max(0, -(-(start_ns - self.start_ns) // self.length_ns))
        return slice(first, max(first, (end_ns - self.start_ns) // self.length_ns))

    def cut(self, first: int, last: int) -> _Buckets:
        return _Buckets(
            start_ns=self.start_ns + first * self.length_ns,
            length_ns=self.length_ns,
            ok=self.ok[first:last],
            bad=self.bad[first:last],
            times=self.times,
        )

    def as_one(self) -> _Buckets:
        return _Buckets(
            start_ns=self.start_ns,
            length_ns=self.length_ns * len(self),
            ok=np.array([self.ok.sum()]),
            bad=np.array([self.bad.sum()]),
            times=self.times,
        )


def _dip(shares_of_steady: Array) -> float | None:
    return max(0.0, 1 - float(np.min(shares_of_steady))) if shares_of_steady.size else None


def _share_of(flags: Array) -> float:
    return float(np.mean(flags)) if flags.size else 0.0
