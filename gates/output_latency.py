"""How late what came out of a job could be read, counted from the moment its record was meant to be sent.

    intended ── into the log ── acknowledged ── the job, its commit ── seen by a reader that follows the output
       └──────────────────────────── latency ─────────────────────────────┘      never came out: infinite

What is sent shortly before a fault can be late because of it, and is no record of the steady window: there those count
that were sent at least `limit` before the first fault, so that each of them was on time or late by itself.

As with every latency here, what was refused or found no free user took for ever. A record that is in the output and
that the reader never saw live was visible nobody knows when: it may not decide, so it is counted both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chaos.clock import ns
from chaos.intervals import samples_for_quantile
from chaos.model import Span
from gates.latency import compared
from gates.traffic import drop_times_ns, inside
from gates.wording import inconclusive, no_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    from chaos.model import Verdict
    from chaos.recording import Recording
    from chaos.windows import Window
    from gates.traffic import Array
    from gates.visible import Visible

SENDING_MIN_S = 1.0  # of a window, in which what is judged was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputLatency:
    """The `percentile` of the time from a record's intended sending to its being read from `output` is at most `limit`.

    `samples_min`: fewer offered records can't tell; by default as many as the percentile's own interval needs.
    """

    limit_s: float
    output: str = "out"
    percentile: float = 99.0
    during: Span = Span.STEADY
    samples_min: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:
            raise ValueError(f"percentile: {self.percentile:g} is not between 0 and 100; write e.g. 99")
        if self.limit_s <= 0:
            raise ValueError("limit: a latency is above 0; write e.g. 3s")

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that must be read back."""
        return (self.output,)

    @property
    def needs(self) -> Mapping[Span, float]:
        """Span → seconds that each such window must last."""
        return {Span.STEADY: self.limit_s + SENDING_MIN_S} if self.during is Span.STEADY else {}

    def judge(self, recording: Recording) -> Verdict:
        """Judge the records that were meant to be sent in the window."""
        from gates.accounts import SparseError  # noqa: PLC0415  # pyarrow costs, and plan never judges
        from gates.visible import Visible  # noqa: PLC0415  # as above

        spans, topic = self._spans(recording), recording.topic(self.output)
        if not spans:
            return no_window(self.during)
        if topic is None:
            return inconclusive(f"topic {self.output} was not read back after the run", n=0)
        try:
            seen = Visible.of(recording, topic, spans)
        except SparseError as error:
            return inconclusive(f"the samples can't be compared: {error}")
        return self._judged(seen, int(np.count_nonzero(inside(drop_times_ns(recording), spans))))

    def _spans(self, recording: Recording) -> list[Window]:
        spans = recording.windows.select(self.during)
        if self.during is not Span.STEADY or not recording.windows.faults:
            return list(spans)
        return [(start, end - ns(self.limit_s)) for start, end in spans if end - start > ns(self.limit_s)]

    def _judged(self, seen: Visible, lost: int) -> Verdict:
        offered = seen.offered + lost
        needed = max(self.samples_min or 1, samples_for_quantile(self.percentile / 100))
        if offered < needed:
            why = f"{offered} records during {self.during}, p{self.percentile:g} needs at least {needed}"
            return inconclusive(why, n=offered, needed=needed)
        if not seen.latency_s.size and seen.unsure:
            why = f"nobody was seen to read {self.output} while the run went on"
            return inconclusive(why, n=offered, unseen=seen.unsure)
        never = offered - len(seen.latency_s)
        told = {"unseen": seen.unsure, "dropped": lost, **seen.split}
        worst, best = (self._compared(seen.latency_s, missing, told) for missing in (never, never - seen.unsure))
        if worst.status is best.status:
            return worst
        why = f"{seen.unsure:,} records of {self.output} were visible nobody knows when; {best.summary} without them"
        return inconclusive(f"{why}; {worst.summary} if late", **worst.numbers)

    def _compared(self, latency_s: Array, never: int, told: Mapping[str, float | None]) -> Verdict:
        ordered = np.sort(np.r_[latency_s, np.full(never, np.inf)])
        name = f"p{self.percentile:g} from sending to {self.output} during {self.during}"
        return compared(ordered, name, limit_s=self.limit_s, percentile=self.percentile, never=never, **told)
