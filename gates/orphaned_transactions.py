"""No transaction that nobody will end holds readers up: what is committed behind an open one can't be read.

    high watermark      ──┘──┘──┘──┘──┘──     last-stable-lag = high watermark - last stable offset
    last stable offset  ──┘──┘──┘────────     sound: falls with every commit; stuck: only grows
                                └ the stall

A sink with transactions always has one open, so a lag is no fault; one that never falls is. Read-committed consumers of
that partition get nothing until the broker aborts it, after transaction.timeout.ms (KIP-98).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chaos.clock import NS
from chaos.model import Span, Status, Verdict
from gates.counters import series
from gates.wording import at, inconclusive, listed, no_window, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.recording import Recording
    from chaos.windows import Window
    from gates.counters import Series

READING = "last-stable-lag"
LOOKS_MIN = 4  # answers of which none is below the one before it: fewer can be chance, between two commits


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanedTransactions:
    """No partition's last stable offset stands still for longer than `limit`, and none is behind when all has ended.

    `topic`: of this one only.
    """

    limit_s: float = 15.0
    topic: str = ""

    def __post_init__(self) -> None:
        if self.limit_s <= 0:
            raise ValueError("limit: above 0, and above the time between two checkpoints; write e.g. 15s")

    def judge(self, recording: Recording) -> Verdict:
        """Judge the longest stall of any partition, and what was still open at the end."""
        spans = recording.windows.select(Span.RUN)
        if not spans:
            return no_window(Span.RUN)
        told = {text: one for text, one in series(recording, READING).items() if self._mine(text)}
        answers = sum(len(one.answered.within(spans).values) for one in told.values())
        stalls = [(stall, text) for text, one in told.items() for stall in _stalls(one.within(spans))]
        (start, end), where = max(stalls, key=lambda one: one[0][1] - one[0][0], default=((0, 0), ""))
        stall_s = (end - start) / NS
        numbers = {"value_s": stall_s, "limit_s": self.limit_s, "n": answers}
        if still := self._open(recording):
            summary = f"a transaction was still open when all had ended: {listed(still)}"
            return Verdict(status=Status.FAIL, summary=summary, numbers=numbers, certain=True)
        if not answers:
            return inconclusive("nobody looked at the last stable offsets", **numbers)
        said = f"the last stable offset stood still for {seconds(stall_s)} at most, limit {seconds(self.limit_s)}"
        if stall_s > self.limit_s:
            since = f"{where} from {at(recording, start)} on"
            return Verdict(status=Status.FAIL, summary=f"{said}: {since}", numbers=numbers, certain=True)
        if not self._settled(recording):
            return inconclusive(f"{said}; nobody showed that all were settled in the end", **numbers)
        return Verdict(status=Status.PASS, summary=said, numbers=numbers)

    def _mine(self, text: str) -> bool:
        return not self.topic or text.partition("/")[0] == self.topic

    def _open(self, recording: Recording) -> list[str]:
        """Return the partitions whose last stable offset was behind when they were read back."""
        return [
            f"{topic.name}/{partition} at offset {topic.end.last_stable[partition]}"
            for topic in recording.parts.topics.values()
            if topic.end is not None and self._mine(topic.name)
            for partition in sorted(topic.end.high)
            if topic.open(partition)
        ]

    def _settled(self, recording: Recording) -> bool:
        ends = [topic.end for topic in recording.parts.topics.values() if self._mine(topic.name)]
        return bool(ends) and all(end is not None and end.settled for end in ends)


def _stalls(one: Series) -> Iterator[Window]:
    """Return each stretch of answers above 0 of which none is below the one before it."""
    falls = np.isnan(one.values) | (one.values <= 0)
    falls[1:] |= ~(one.values[1:] >= one.values[:-1])
    edges = [*np.flatnonzero(falls).tolist(), len(falls)]
    for first, last in zip([0, *edges], edges, strict=False):
        begin = first if one.values[first:last].size and one.values[first] > 0 else first + 1
        if last - begin >= LOOKS_MIN:
            yield int(one.times_ns[begin]), int(one.times_ns[last - 1])
