"""How far a job is behind its input: gone soon after a fault, and not growing while nothing is broken.

    records behind         ┌──┬──┐
    steady: its usual ─────┘  │  └──────── back to what it was in steady, for a hold
    INJECT ────────────────┴──┘  └ drained: counted from the end of the fault

Growth in steady is the slope of Theil and Sen with its interval (Sen, JASA 63 (1968)): a lag that swings with every
commit has no more of a slope than its median says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chaos.clock import NS, ns
from chaos.intervals import ALPHA
from chaos.model import Span, Status, Verdict
from gates.counters import series
from gates.throughput import rate_per_s
from gates.wording import inconclusive, listed, no_window, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from chaos.recording import Recording
    from chaos.windows import RecoverySpan
    from gates.counters import Series

LOOKS_MIN = 6  # in the steady window: of fewer the slope's interval is without bound
ROOM_SHARE = 0.1  # above the most that was seen in steady is still usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Within `limit` after every fault the lag is back where it was in steady, where it does not grow, for `hold`.

    Back: at most `records` behind (left out: the most that was seen in steady, and a tenth). Growing: by more than
    `growth` of the steady rate. `topic`: of this one only.
    """

    limit_s: float
    topic: str = ""
    records: int | None = None
    growth_share: float = 0.05
    hold_s: float = 2.0

    def __post_init__(self) -> None:
        if self.limit_s <= 0:
            raise ValueError("limit: above 0; write e.g. 10s")
        if not 0 < self.growth_share < 1:
            raise ValueError(f"growth: {percent(self.growth_share)} is not between 0 and 100 %; write e.g. 5%")

    @property
    def needs(self) -> Mapping[Span, float]:
        """Span → seconds that each such window must last."""
        return {Span.STEADY: 2.0, Span.RECOVERY: self.hold_s}

    def judge(self, recording: Recording) -> Verdict:
        """Judge the steady window and every recovery; the worst topic counts."""
        windows = recording.windows
        if windows.steady is None:
            return no_window(Span.STEADY)
        rate = rate_per_s(recording, [windows.steady])
        told = {text: one for text, one in series(recording, "lag").items() if not self.topic or text == self.topic}
        found = [
            self._one(text, one.answered, recording, rate) for text, one in told.items() if len(one.answered.values)
        ]
        if not found:
            return inconclusive(f"nobody measured how far the job is behind{f' {self.topic}' * bool(self.topic)}", n=0)
        worst = max(found, key=lambda one: (one.status, one.numbers["value_s"] or 0.0))
        if windows.unfollowed and worst.status is Status.PASS:
            names = [f"{fault.step}#{fault.occurrence}" for fault in windows.unfollowed]
            return inconclusive(f"there was no traffic after {listed(names)}", **worst.numbers)
        return worst

    def _one(self, text: str, lag: Series, recording: Recording, rate: float) -> Verdict:
        windows, what = recording.windows, f"the lag{f' of {text}' * bool(text)}"
        assert windows.steady is not None
        steady = lag.within([windows.steady])
        if len(steady.values) < LOOKS_MIN:
            why = f"{what} was seen {len(steady.values)} times in steady, {LOOKS_MIN} are needed"
            return inconclusive(why, n=len(steady.values), needed=LOOKS_MIN, value_s=None)
        usual = self.records if self.records is not None else (1 + ROOM_SHARE) * float(steady.values.max())
        growth, drained = self._growth(what, steady, rate), list(self._drained(lag, usual, windows.recoveries))
        status = max([growth.status, *(one for one, _ in drained)])
        longest = max((took for _, took in drained if took is not None), default=None)
        numbers: dict[str, Any] = {"value_s": longest, "limit_s": self.limit_s, "n": len(drained), "usual": usual}
        said = [growth.summary, *self._told(drained, longest)]
        return Verdict(status=status, summary="; ".join(said), numbers={**numbers, **growth.numbers})

    def _growth(self, what: str, steady: Series, rate: float) -> Verdict:
        from scipy.stats import theilslopes  # noqa: PLC0415  # half a second that reading an experiment must not cost

        limit = self.growth_share * rate
        slope, _, low, high = (float(x) for x in theilslopes(steady.values, steady.times_ns / NS, 1 - ALPHA))
        numbers = {"growth_per_s": slope, "growth_low_per_s": low, "growth_high_per_s": high}
        said = f"{what} grows by {slope:,.0f}/s in steady ({low:,.0f} to {high:,.0f}), limit {limit:,.0f}/s"
        if not rate:
            return inconclusive(
                "nothing succeeded in the steady window, so there is nothing to compare with", **numbers
            )
        status = Status.PASS if high <= limit else Status.FAIL if low > limit else Status.INCONCLUSIVE
        more = "; a longer steady window would tell" if status is Status.INCONCLUSIVE else ""
        return Verdict(status=status, summary=said + more, numbers=numbers)

    def _drained(
        self, lag: Series, usual: float, recoveries: Sequence[RecoverySpan]
    ) -> Iterator[tuple[Status, float | None]]:
        """Yield, of each recovery, what it says and after how many seconds the lag was back (None: not seen)."""
        for span in recoveries:
            after = lag.within([(span.start_ns, span.end_ns)])
            late = np.flatnonzero(after.values > usual)
            back_ns = span.start_ns
            if late.size:
                rest = after.times_ns[late[-1] + 1 :]
                back_ns = int(rest[0]) if rest.size else span.end_ns
            took_s = (back_ns - span.start_ns) / NS
            seen = after.times_ns.size and int(after.times_ns[-1]) - back_ns >= ns(self.hold_s) / 2
            if seen and span.end_ns - back_ns >= ns(self.hold_s):
                yield (Status.PASS if took_s <= self.limit_s else Status.FAIL), took_s
            else:
                over = (span.end_ns - span.start_ns) / NS > self.limit_s + self.hold_s
                yield (Status.FAIL if over and late.size else Status.INCONCLUSIVE), None

    def _told(self, drained: Sequence[tuple[Status, float | None]], longest: float | None) -> Iterator[str]:
        limit = seconds(self.limit_s)
        if any(took is None and status is Status.FAIL for status, took in drained):
            yield f"not back within {limit} after a fault"
        elif any(took is None for _, took in drained):
            yield f"too little traffic after a fault to see it drained: {seconds(self.limit_s + self.hold_s)} would do"
        elif longest is not None:
            yield f"back within {seconds(longest)} after every fault, limit {limit}"
