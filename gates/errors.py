"""The share of offered operations that were not served: failed, unknown, or dropped for want of a free user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaos.intervals import samples_for_share, samples_to_tell, share_interval
from chaos.model import Outcome, Span, Status, Verdict
from gates.traffic import traffic
from gates.wording import inconclusive, no_window, percent

if TYPE_CHECKING:
    from chaos.recording import Recording
    from gates.traffic import Traffic


NONE_OF = samples_for_share(0.01)  # operations without an error mean "none": the true share is below 1 % then


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """At most `limit` of the operations offered in a window are not served; a limit of 0% means none at all."""

    limit_share: float
    during: Span = Span.FAULT

    def __post_init__(self) -> None:
        if not 0 <= self.limit_share < 1:
            raise ValueError(f"limit: {percent(self.limit_share)} is not below 100 %; write e.g. 1%")

    def judge(self, recording: Recording) -> Verdict:
        """Judge by the share's Clopper-Pearson interval, with a limit of 0 by the count itself if it is of enough."""
        seen = traffic(recording, self.during)
        if not seen.spans:
            return no_window(self.during)
        if seen.n == 0:
            return inconclusive(f"no operation was offered during {self.during}", n=0, needed=self._needed(0.0))
        low, high = share_interval(seen.errors, seen.n)
        status = self._status(seen, low, high)
        return Verdict(
            status=status, summary=self._sentence(status, seen, low, high), numbers=self._numbers(seen, low, high)
        )

    def _status(self, seen: Traffic, low: float, high: float) -> Status:
        if self.limit_share == 0:
            enough = Status.PASS if seen.n >= NONE_OF else Status.INCONCLUSIVE
            return Status.FAIL if seen.errors else enough
        if high <= self.limit_share:
            return Status.PASS
        return Status.FAIL if low > self.limit_share else Status.INCONCLUSIVE

    def _needed(self, share: float) -> int | None:
        if self.limit_share == 0:
            return NONE_OF
        return samples_to_tell(share, self.limit_share) if share else samples_for_share(self.limit_share)

    def _sentence(self, status: Status, seen: Traffic, low: float, high: float) -> str:
        share, limit = seen.errors / seen.n, percent(self.limit_share)
        said = f"{percent(share)} of {seen.n:,} operations were not served during {self.during}, limit {limit}"
        if status is not Status.INCONCLUSIVE:
            return said
        needed = self._needed(share)
        more = f"about {needed:,}" if needed else "more"
        return f"{said}, which lies within {percent(low)} to {percent(high)}; {more} operations would tell"

    def _numbers(self, seen: Traffic, low: float, high: float) -> dict[str, float]:
        return {
            "value_share": seen.errors / seen.n,
            "limit_share": self.limit_share,
            "low_share": low,
            "high_share": high,
            "n": seen.n,
            "failed": seen.count(Outcome.FAILED),
            "unknown": seen.count(Outcome.UNKNOWN),
            "dropped": seen.dropped,
        }
