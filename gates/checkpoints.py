"""A job's checkpoints succeed, and soon enough: the share that completed, with its exact interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.intervals import samples_for_share, samples_to_tell, share_interval
from chaos.model import Span, Status, Verdict
from gates.counters import one_series
from gates.wording import inconclusive, no_window, percent, seconds

if TYPE_CHECKING:
    from chaos.recording import Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """At least `floor` of the checkpoints that ended in a window completed, none of them in more than `duration`.

    What decides is the share's Clopper-Pearson interval; too few to tell, and it says how many more would.
    """

    floor_share: float = 0.8
    duration_s: float | None = None
    during: Span = Span.RUN

    def __post_init__(self) -> None:
        if not 0 < self.floor_share < 1:
            raise ValueError(f"floor: {percent(self.floor_share)} is not between 0 and 100 %; write e.g. 90%")

    def judge(self, recording: Recording) -> Verdict:
        """Judge by how the counters grew."""
        spans = recording.windows.select(self.during)
        if not spans:
            return no_window(self.during)
        completed, told = one_series(recording, "checkpoints-completed").growth(spans)
        failed, _ = one_series(recording, "checkpoints-failed").growth(spans)
        if not told:
            return inconclusive(f"nobody counted checkpoints during {self.during}", n=0, needed=self._needed(0))
        n = round(completed + failed)
        if not n:
            why = f"no checkpoint ended during {self.during}; about {self._needed(0)} are needed"
            return inconclusive(why, n=0, needed=self._needed(0))
        took = one_series(recording, "checkpoint-duration").answered.within(spans).values
        return self._compared(round(completed), n, float(took.max()) if took.size else None)

    def _needed(self, failed_share: float) -> int:
        limit = 1 - self.floor_share
        return (samples_to_tell(failed_share, limit) if failed_share else None) or samples_for_share(limit)

    def _compared(self, completed: int, n: int, longest_s: float | None) -> Verdict:
        low, high = share_interval(completed, n)
        status = Status.PASS if low >= self.floor_share else Status.FAIL if high < self.floor_share else None
        said = f"{completed} of {n} checkpoints completed during {self.during}, floor {percent(self.floor_share)}"
        if status is None:
            more = max(1, self._needed(1 - completed / n) - n)
            said = f"{said}, which lies within {percent(low)} to {percent(high)}; about {more} more would tell"
        slow = self.duration_s is not None and longest_s is not None and longest_s > self.duration_s
        if self.duration_s is not None:
            said = f"{said}; the longest took {seconds(longest_s)}, limit {seconds(self.duration_s)}"
            status = Status.FAIL if slow else status if longest_s is not None else None
        numbers = {
            "value_share": 1 - completed / n,
            "limit_share": 1 - self.floor_share,
            "n": n,
            "completed": completed,
        }
        numbers |= {"low_share": 1 - high, "high_share": 1 - low}
        told = numbers | ({} if longest_s is None else {"longest_s": longest_s})
        return Verdict(status=Status.INCONCLUSIVE if status is None else status, summary=said, numbers=told)
