"""Results keep coming: the longest time in which a reader that follows the output saw nothing new.

    seen  │││││││││            ││││││││││││││││
          steady  └─ the gap ──┘

Where copies of a job write topics of their own, a reader that takes the first of each record sees all of them as one.

A gap belongs to a window that it touches, and counts whole. A reader that stopped is not an output that stopped: if
records are in the output that it never saw, its silence from its last one on proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chaos.clock import NS
from chaos.model import Span, Status, Verdict
from gates.wording import at, inconclusive, listed, no_window, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chaos.recording import Recording
    from chaos.windows import Window
    from gates.accounts import Ints, Log


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputContinues:
    """No longer than `limit` passes without a new record in `output`, seen by a reader that follows it.

    `copies`: topics with the same records, as further copies of the job write them; new is what none had before.
    """

    limit_s: float
    output: str = "out"
    copies: tuple[str, ...] = ()
    during: Span = Span.RUN

    def __post_init__(self) -> None:
        if self.limit_s <= 0:
            raise ValueError("limit: a gap is above 0; write e.g. 5s")

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that must be read back."""
        return (self.output, *self.copies)

    def judge(self, recording: Recording) -> Verdict:
        """Judge the longest gap that touches the window."""
        run, spans = recording.windows.run, recording.windows.select(self.during)
        if run is None or not spans:
            return no_window(self.during)
        from chaos.streams import NEVER_NS  # noqa: PLC0415  # pyarrow costs, and plan never judges
        from gates.accounts import Log  # noqa: PLC0415  # as above

        topics = {name: recording.topic(name) for name in self.topics}
        if missing := [name for name, topic in topics.items() if topic is None]:
            return inconclusive(f"topic {listed(missing)} was not read back after the run", n=0)
        logs = [Log.of(topic, numbered=bool(self.copies)) for topic in topics.values() if topic is not None]
        times = _first_seen(logs) if self.copies else logs[0].column("seen_ns")
        seen = np.sort(times[times != NEVER_NS])
        unseen = len(times) - len(seen)
        if not seen.size:
            return inconclusive(f"nobody was seen to read {self.output} while the run went on", n=0, unseen=unseen)
        gaps = _gaps(seen, run, spans)
        start, end = max(gaps, key=lambda gap: gap[1] - gap[0])
        if unseen and end == run[1] and end > seen[-1]:
            why = f"the reader of {self.output} saw nothing after {at(recording, start)}; {unseen:,} records are there"
            if (end - start) / NS > self.limit_s:
                return inconclusive(f"{why}, so it may have stopped", n=len(seen), unseen=unseen)
        return self._verdict(recording, (start, end), len(seen))

    def _verdict(self, recording: Recording, gap: Window, n: int) -> Verdict:
        gap_s = (gap[1] - gap[0]) / NS
        status = Status.PASS if gap_s <= self.limit_s else Status.FAIL
        what = f"the longest silence of {self.output} during {self.during}"
        summary = f"{what}: {seconds(gap_s)} from {at(recording, gap[0])} on, limit {seconds(self.limit_s)}"
        return Verdict(status=status, summary=summary, numbers={"value_s": gap_s, "limit_s": self.limit_s, "n": n})


def _first_seen(logs: Sequence[Log]) -> Ints:
    """Return, of each record by key and number, when it was first seen in any of the logs."""
    columns = zip(*((log.key, log.n, log.column("seen_ns")) for log in logs), strict=True)
    key, n, seen_ns = (np.concatenate(parts) for parts in columns)
    by = np.lexsort((seen_ns, n, key))
    key, n, seen_ns = key[by], n[by], seen_ns[by]
    first = np.r_[True, (np.diff(key) != 0) | (np.diff(n) != 0)] if len(by) else by.astype(bool)
    return seen_ns[first]


def _gaps(seen: Ints, run: Window, spans: Sequence[Window]) -> list[Window]:
    """Return the times between new records, and to the ends of the run, that touch one of the windows."""
    edges = np.r_[run[0], seen[(seen > run[0]) & (seen < run[1])], run[1]]
    found = []
    for start, end in spans:
        first, last = np.searchsorted(edges, start, side="right") - 1, np.searchsorted(edges, end)
        touched = edges[max(0, first) : last + 1]
        longest = int(np.argmax(np.diff(touched)))
        found.append((int(touched[longest]), int(touched[longest + 1])))
    return found
